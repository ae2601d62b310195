//! A person in a real browser: from the portal into a `KombiStack`. Where there is no Chromium, this
//! is skipped and reported as ignored, not as passed.

// A failure is what a test is for.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use libtest_mimic::{Arguments, Trial};
use stack::{
    ai::Accounting,
    artifacts::{self, Node},
    portal,
    stack::{HOMELAB, Options, Stack},
};

/// What the browser is called, depending on who made the package.
const CHROMIUM: [&str; 2] = ["chromium", "chromium-browser"];

fn main() {
    let arguments = Arguments::from_args();
    let pip_is_missing = artifacts::pip_is_missing();
    let chromium = chromium();
    if let Some(missing) = pip_is_missing {
        eprintln!("SKIPPED: the tests with a browser. {missing}");
    } else if chromium.is_none() {
        eprintln!(
            "SKIPPED: the tests with a browser, which need Chromium: apt-get install chromium"
        );
    }
    let skipped = pip_is_missing.is_some() || chromium.is_none();
    let chromium = chromium.unwrap_or_default();
    let trial = Trial::test("a_person_opens_their_kombistack_from_the_portal", move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(a_person_opens_their_kombistack_from_the_portal(chromium));
        Ok(())
    });
    libtest_mimic::run(&arguments, vec![trial.with_ignored_flag(skipped)]).exit();
}

/// Where the browser is.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let places = std::env::split_paths(&path);
    places.flat_map(|place| CHROMIUM.map(|name| place.join(name))).find(|file| file.is_file())
}

async fn a_person_opens_their_kombistack_from_the_portal(chromium: PathBuf) {
    let options = Options {
        instances: &[HOMELAB],
        ai: Some(Accounting::Ledger),
        portal: true,
        ..Options::default()
    };
    let stack = Stack::start(options).await.unwrap();
    stack.wait_for_models(&stack.issuer.token("ada").await.unwrap()).await.unwrap();
    let node = Node::install(portal::SOURCE).unwrap();
    // A module is looked for beside the script that imports it.
    let script = node.folder.join("browser.mjs");
    std::fs::copy(artifacts::source().join(portal::SOURCE).join("browser.mjs"), &script).unwrap();
    let mut command = node.command();
    command
        .arg(script)
        .env("CHROMIUM", chromium)
        .env("PORTAL_URL", stack.portal_url().unwrap())
        .env("GATEWAY_URL", stack.gateway.url())
        .env("INSTANCE_URL", stack.instances.first().unwrap().url())
        .env("SCREENSHOT", artifacts::target().join("portal.png"))
        .env("NO_PROXY", "*");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let (said, failed) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    print!("{said}");
    assert!(output.status.success(), "{said}\n{failed}\n{}", stack.logs());
}
