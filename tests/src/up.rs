//! `cargo stack up`: the whole stack, until Ctrl-C.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    ai::Accounting,
    stack::{HOMELAB, Options, Stack},
};

/// The port of the gateway, unless something else listens there.
const GATEWAY_PORT: u16 = 8000;

/// The people of the demo, and what each stands for.
const PEOPLE: [(&str, &str); 3] = [
    ("ada", "a user; owns the instance homelab"),
    ("grace", "an admin (admin:tools); a member of homelab"),
    ("mallory", "a stranger: a user of another organisation"),
];

/// Starts everything, says what is there to try, and waits for Ctrl-C.
pub async fn run(options: Options) -> Result<()> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let stopped = async {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    };
    let running = async {
        let options = Options {
            gateway_port: Some(GATEWAY_PORT),
            instances: &[HOMELAB],
            ai: Some(Accounting::Ledger),
            ..options
        };
        let stack = Stack::start(options).await?;
        announce(&stack).await?;
        std::future::pending::<Result<()>>().await
    };
    // Whichever ends first, the stack is dropped, and with it every process.
    tokio::select! {
        () = stopped => {
            println!("\nStopped.");
            Ok(())
        }
        failed = running => failed,
    }
}

async fn announce(stack: &Stack) -> Result<()> {
    let gateway = stack.gateway.url();
    let instance = stack.instances.first().context("the homelab runs")?;
    println!("\nKombiSphere runs, on {}.\n", stack.gateway.kind());
    println!("  gateway      {gateway}");
    println!("  metrics      {}", stack.gateway.metrics_url());
    println!("  issuer       {}", stack.issuer.url());
    println!("  KombiStack   {} (the instance {})", instance.url(), instance.id());
    println!("\nTokens, good for an hour:\n");
    for (person, who) in PEOPLE {
        println!("  # {who}");
        println!("  {}={}\n", person.to_uppercase(), stack.issuer.token(person).await?);
    }
    println!("Paste these lines into another terminal, then try:\n");
    println!("  curl -i {gateway}/user -H \"Authorization: Bearer $ADA\"");
    println!("  curl -i {gateway}/admin -H \"Authorization: Bearer $ADA\"");
    println!(
        "  curl -i -X POST {gateway}/sso/instances/{}/session -H \"Authorization: Bearer $ADA\"",
        instance.id()
    );
    println!("  curl -N {gateway}/ai/v1/chat/completions -H \"Authorization: Bearer $ADA\" \\");
    println!("    -H 'content-type: application/json' \\");
    println!(
        "    -d '{{\"model\": \"gpt-4o\", \"stream\": true, \"messages\": [{{\"role\": \"user\", \
         \"content\": \"tell me a long story\"}}]}}'"
    );
    println!("\nCtrl-C stops everything.");
    Ok(())
}
