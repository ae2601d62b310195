//! `cargo stack up`: the whole stack, until Ctrl-C.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    ai::Accounting,
    stack::{HOMELAB, Options, Stack},
};

/// The port of the gateway, unless something else listens there.
const GATEWAY_PORT: u16 = 8000;

/// How long a call that has ended may take to be in the ledger.
const SETTLED_WITHIN: Duration = Duration::from_secs(20);

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
            portal: true,
            ..options
        };
        let mut stack = Stack::start(options).await?;
        call_a_model(&mut stack).await?;
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

/// Calls a model as an application does: shows the answer as it comes, and then what the ledger
/// has of it.
async fn call_a_model(stack: &mut Stack) -> Result<()> {
    let token = stack.issuer.token("ada").await?;
    stack.wait_for_models(&token).await?;
    let body = json!({
        "model": "gpt-4o",
        "stream": true,
        "messages": [{"role": "user", "content": "tell me a long story"}],
    });
    let request = stack.post("/ai/v1/chat/completions").bearer_auth(&token).json(&body);
    let mut answer = request.send().await?;
    println!("\nAda asks a model for a long story:\n");
    let mut rest = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        rest.extend_from_slice(&chunk);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let data = line.strip_prefix(b"data: ").unwrap_or_default();
            let event: Value = serde_json::from_slice(data).unwrap_or_default();
            print!("{}", event["choices"][0]["delta"]["content"].as_str().unwrap_or_default());
            std::io::stdout().flush()?;
        }
    }
    let deadline = Instant::now() + SETTLED_WITHIN;
    loop {
        let report = stack.exchange()?.usage_by_model()?;
        let row = &report["rows"][0];
        if row["calls"] == 1 {
            println!("\n\nand the ledger has a row of it:\n\n{row:#}");
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("the ledger has no row of it: {report}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn announce(stack: &Stack) -> Result<()> {
    let gateway = stack.gateway.url();
    let instance = stack.instances.first().context("the homelab runs")?;
    println!("\nKombiSphere runs, on {}.\n", stack.gateway.kind());
    println!("  gateway      {gateway}");
    let portal = stack.portal_url().context("there is a portal")?;
    println!("  portal       {portal} (sign in as ada; the password is the name)");
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
