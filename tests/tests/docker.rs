//! The gateway in Kong's own container. Where no Docker engine answers, these tests are skipped
//! and reported as ignored, not as passed.

use kombi_spec::code::Code;
use libtest_mimic::{Arguments, Failed, Trial};
use stack::{
    answer::Answer,
    host::{HostKind, docker_answers},
    stack::{HOMELAB, Options, Stack},
};

fn main() {
    let arguments = Arguments::from_args();
    let docker = docker_answers();
    if !docker {
        eprintln!("SKIPPED: the tests on kong:3.9 need a Docker engine, and none answers here.");
    }
    let trials = vec![
        Trial::test("kong_in_a_container_gates_and_logs_in", || run(gates_and_logs_in()))
            .with_ignored_flag(!docker),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(test: impl Future<Output = anyhow::Result<()>>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(test).map_err(|error| Failed::from(format!("{error:#}")))
}

async fn gates_and_logs_in() -> anyhow::Result<()> {
    let stack = Stack::start(Options {
        host: Some(HostKind::Docker),
        instances: &[HOMELAB],
        ..Options::default()
    })
    .await?;
    let anonymous = Answer::to(stack.get("/user")).await?;
    assert_eq!(anonymous.code(), Some(Code::TokenMissing));
    let token = stack.issuer.token("ada").await?;
    assert_eq!(stack.get_as(&token, "/user").await?.status, 200);
    assert_eq!(stack.get_as(&token, "/admin").await?.code(), Some(Code::RoleMissing));
    assert_eq!(stack.log_in(&token, HOMELAB.id).await?.status, 200);
    Ok(())
}
