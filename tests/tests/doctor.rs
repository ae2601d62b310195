//! `kombi-exchange doctor` on the real stack: all of it in order, and then each part broken.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use anyhow::Result;
use http_body_util::Full;
use kombi_spec::code::Code;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use stack::{
    answer::Answer,
    backend::Backend,
    host::HostKind,
    listening::Listening,
    port,
    shared_store::{SharedStore, StoreKind},
    stack::{HOMELAB, Stack},
};

/// No longer piece of a secret may be printed.
const LONGEST_PIECE: usize = 16;

fn main() {
    let arguments = Arguments::from_args();
    let on_kong = HostKind::choose(None).is_ok_and(|kind| kind == HostKind::Kong);
    let store = StoreKind::ALL.into_iter().find(|kind| kind.find().is_some());
    if !on_kong {
        eprintln!("SKIPPED: what only Kong tells needs Kong: set KONG_BIN.");
    }
    if store.is_none() {
        eprintln!("SKIPPED: the shared store needs one: `apt-get install valkey-server`.");
    }
    let trials = vec![
        Trial::test("a_stack_in_order_is_found_so_and_no_secret_is_printed", || run(in_order())),
        Trial::test("a_token_is_explained_as_the_gate_would_refuse_it", || run(tokens())),
        Trial::test("a_route_that_is_open_is_found", || run(open_routes())),
        Trial::test("a_clock_that_goes_wrong_is_found", || run(wrong_clock())),
        Trial::test("each_part_that_is_down_is_found", || run(broken())),
        Trial::test("a_shared_store_is_asked", move || run(shared_store(store)))
            .with_ignored_flag(store.is_none()),
        Trial::test("kong_tells_its_settings_and_wrong_ones_are_found", || run(kong()))
            .with_ignored_flag(!on_kong),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn run(test: impl Future<Output = Result<()>>) -> Result<(), Failed> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build()?;
    runtime.block_on(test).map_err(|error| Failed::from(format!("{error:#}")))
}

/// What the doctor found, and whether it was satisfied.
struct Found {
    content: bool,
    lines: Vec<Value>,
    printed: String,
}

impl Found {
    /// Runs `command`, which reads `token`.
    async fn by(mut command: Command, token: &str) -> Result<Self> {
        let token = token.to_owned();
        let output = tokio::task::spawn_blocking(move || {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn()?;
            child.stdin.take().unwrap().write_all(token.as_bytes())?;
            child.wait_with_output()
        })
        .await??;
        let printed = String::from_utf8(output.stdout)?;
        let error = String::from_utf8(output.stderr)?;
        let lines = serde_json::from_str(&printed)
            .map_err(|problem| anyhow::anyhow!("{problem}: {printed} {error}"))?;
        assert!([Some(0), Some(1)].contains(&output.status.code()), "{error}");
        Ok(Self { content: output.status.success(), lines, printed: printed + &error })
    }

    /// The outcome of a look, and all that was said of it.
    fn of(&self, part: &str, look: &str) -> (&str, String) {
        let named = |line: &&Value| {
            line["part"] == part && line["look"].as_str().unwrap().split(", ").any(|l| l == look)
        };
        let line = self.lines.iter().find(named);
        let line = line.unwrap_or_else(|| panic!("no {part}: {look} in {:#?}", self.lines));
        (line["outcome"].as_str().unwrap(), format!("{} {}", line["found"], line["mend"]))
    }

    fn outcomes(&self, outcome: &str) -> Vec<&Value> {
        self.lines.iter().filter(|line| line["outcome"] == outcome).collect()
    }
}

/// The doctor, told of everything that this stack has.
fn doctor(stack: &mut Stack) -> Result<Command> {
    let mut command = stack.exchange()?.doctor();
    command.arg("--declaration").arg(stack.declaration()).args(["--proxy", &stack.gateway.url()]);
    if stack.gateway.kind() == HostKind::Kong {
        let status = stack.gateway.metrics_url();
        command.args(["--kong-status", status.trim_end_matches("/metrics")]);
        command.arg("--kong-conf").arg(stack.directory().join("kong.conf"));
    }
    Ok(command)
}

async fn in_order() -> Result<()> {
    let mut stack = Stack::with(&[HOMELAB]).await?;
    let token = stack.issuer.token("grace").await?;
    // Kong shows the filter's metrics from the first request on.
    assert_eq!(stack.get_as(&token, "/user").await?.status, 200);
    let mut command = doctor(&mut stack)?;
    command.args(["--token", "-"]);
    let found = Found::by(command, &format!(" Bearer {token}\n")).await?;
    assert!(found.content && found.outcomes("fail").is_empty(), "{:#?}", found.lines);
    for (part, look) in [
        ("routes", "policies"),
        ("issuer", stack.issuer.url()),
        ("token", "admin"),
        ("token", "sso-session"),
        ("gateway", "route public"),
        ("gateway", "route user"),
        ("gateway", "route sso-session"),
        ("gateway", "route ai"),
        ("exchange", "ready"),
        ("database", "schema"),
        ("database", "writable"),
        ("instances", "homelab"),
        ("store", "ping"),
    ] {
        assert_eq!(found.of(part, look).0, "ok", "{part} {look}: {:#?}", found.lines);
    }
    if stack.gateway.kind() == HostKind::Kong {
        for look in ["version", "ready", "metrics", "zone", "body buffer", "second pass"] {
            assert_eq!(found.of("kong", look).0, "ok", "{look}: {:#?}", found.lines);
        }
    }
    // Grace may not bill; that is as it should be, and told.
    let (outcome, told) = found.of("token", "admin-usage");
    assert_eq!(outcome, "warn");
    assert!(told.contains(Code::RoleMissing.as_str()) && told.contains("administrator"), "{told}");

    let [signing_key, seal_key] = stack.exchange()?.secrets();
    let signature = token.rsplit('.').next().unwrap();
    for secret in [signing_key, seal_key, signature] {
        for piece in secret.as_bytes().windows(LONGEST_PIECE) {
            let piece = std::str::from_utf8(piece)?;
            assert!(!found.printed.contains(piece), "{piece} was printed");
        }
    }
    Ok(())
}

async fn tokens() -> Result<()> {
    let mut stack = Stack::with(&[HOMELAB]).await?;
    let project = "urn:zitadel:iam:org:project";
    let without_roles = json!({
        "sub": "ada",
        "claims": {
            format!("{project}:roles"): null,
            format!("{project}:{}:roles", stack::issuer::PROJECT): null,
        },
    });
    for (order, route, code, said) in [
        (json!({"sub": "ada", "expires_in": -60}), "user", Code::TokenExpired, "Refresh"),
        (json!({"sub": "ada", "audience": ["7"]}), "user", Code::AudienceMismatch, "[\\\"7\\\"]"),
        (json!({"sub": "ada", "audience": ["portal"]}), "user", Code::AudienceScopeMissing, ":aud"),
        (
            json!({"sub": "ada", "issuer": "https://e.example"}),
            "user",
            Code::IssuerUnknown,
            "e.example",
        ),
        (json!({"sub": "ada", "kid": "another"}), "user", Code::KeyUnknown, "no longer published"),
        (
            json!({"sub": "ada", "claims": {"nonce": "n"}}),
            "user",
            Code::NotAnAccessToken,
            "ID token",
        ),
        (json!({"sub": "ada", "opaque": true}), "user", Code::TokenMalformed, "opaque"),
        (without_roles, "admin", Code::RolesNotAsserted, "Assert Roles"),
        (json!({"sub": "ada"}), "admin", Code::RoleMissing, "admin:tools"),
    ] {
        let token = stack.issuer.mint(order.clone()).await?;
        // The gateway says the same.
        let answer = stack.get_as(&token, &format!("/{route}")).await?;
        assert_eq!(answer.code(), Some(code), "{order}");
        let mut command = stack.exchange()?.doctor();
        command.arg("--declaration").arg(stack.declaration()).args(["--token", "-"]);
        let found = Found::by(command, &token).await?;
        let (outcome, told) = found.of("token", route);
        assert_eq!(outcome, if route == "user" { "fail" } else { "warn" }, "{order}: {told}");
        assert!(told.contains(code.as_str()) && told.contains(said), "{order}: {told}");
        assert_eq!(found.content, route != "user", "{order}: {:#?}", found.lines);
    }
    Ok(())
}

async fn open_routes() -> Result<()> {
    let mut stack = Stack::with(&[HOMELAB]).await?;
    // Where the filter is not loaded, the backend answers.
    let backend = Backend::start().await?;
    let mut command = stack.exchange()?.doctor();
    command.arg("--declaration").arg(stack.declaration()).args(["--proxy", &backend.url()]);
    let found = Found::by(command, "").await?;
    assert!(!found.content);
    for route in ["public", "user", "admin", "sso-session", "sso-redeem", "ai"] {
        let (outcome, told) = found.of("gateway", &format!("route {route}"));
        assert_eq!(outcome, "fail", "{route}");
        assert!(told.contains("the filter is not loaded"), "{told}");
    }
    // One route alone, which the gateway has public and the file has not.
    let declared = fs::read_to_string(stack.declaration())?;
    let mut declared: Value = serde_yaml_ng::from_str(&declared)?;
    let routes = declared["services"][0]["routes"].as_array_mut().unwrap();
    let config = routes[1]["plugins"][0]["config"].clone();
    routes[0]["plugins"][0]["config"] = config;
    let nowhere = json!({"name": "new", "paths": ["/nowhere"], "plugins": routes[1]["plugins"]});
    routes.push(nowhere);
    routes.push(json!({"name": "naked", "paths": ["/naked"]}));
    let file = stack.directory().join("declared.yml");
    fs::write(&file, declared.to_string())?;
    let mut command = stack.exchange()?.doctor();
    command.arg("--declaration").arg(&file).args(["--proxy", &stack.gateway.url()]);
    let found = Found::by(command, "").await?;
    assert!(!found.content);
    assert_eq!(found.of("gateway", "route public").0, "fail");
    assert_eq!(found.of("gateway", "route user").0, "ok");
    assert!(found.of("gateway", "route new").1.contains("404"));
    assert!(found.of("routes", "route naked").1.contains("everybody passes"));
    Ok(())
}

async fn wrong_clock() -> Result<()> {
    let mut stack = Stack::with(&[HOMELAB]).await?;
    let keys = Answer::to(stack.client().get(stack.issuer.key_set_url().await?)).await?.body;
    let late = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(3600));
    let issuer = Listening::start(move |request| {
        let host = request.headers()["host"].to_str().unwrap();
        let body = match request.uri().path() {
            "/keys" => keys.clone(),
            _ => {
                let url = format!("http://{host}");
                json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string().into_bytes()
            }
        };
        let response = hyper::Response::builder().header("date", &late);
        let response = response.body(Full::from(body)).unwrap();
        async move { response }
    })
    .await?;
    let url = issuer.url();
    let mut command = stack.exchange()?.doctor();
    command.args(["--issuer", &url, "--audience", "1"]);
    let found = Found::by(command, "").await?;
    assert_eq!(found.of("issuer", &url).0, "ok", "{:#?}", found.lines);
    let (outcome, told) = found.of("issuer", &format!("the clock of {url}"));
    assert_eq!(outcome, "fail");
    assert!(told.contains("behind ours"), "{told}");
    assert!(!found.content);
    Ok(())
}

async fn broken() -> Result<()> {
    let mut stack = Stack::with(&[HOMELAB]).await?;
    let token = stack.issuer.token("ada").await?;
    let issuer = stack.issuer.url().to_owned();
    let nobody = format!("http://127.0.0.1:{}", port::free()?);
    stack.issuer.kill()?;
    stack.instances[0].pause()?;
    stack.exchange()?.kill()?;
    let mut command = stack.exchange()?.doctor();
    command.arg("--declaration").arg(stack.declaration()).args(["--token", "-"]);
    command.args(["--proxy", &nobody, "--kong-status", &nobody, "--kong-admin", &nobody]);
    command.env("KOMBI_EXCHANGE_SHARED_STORE", nobody.replace("http://", "redis://:c2VjcmV0@"));
    let found = Found::by(command, &token).await?;
    stack.instances[0].go_on()?;
    assert!(!found.content);
    for (part, look, said) in [
        ("issuer", issuer.as_str(), "did not answer"),
        ("token", "user", Code::KeysUnavailable.as_str()),
        ("gateway", "proxy", "no answer"),
        ("kong", "status", "no answer"),
        ("kong", "admin API", "no answer"),
        ("exchange", "ready", "no answer"),
        ("instances", "homelab", "no answer in time"),
        ("store", "ping", "cannot be reached"),
    ] {
        let (outcome, told) = found.of(part, look);
        assert_eq!(outcome, "fail", "{part} {look}");
        assert!(told.contains(said), "{part} {look}: {told}");
    }
    assert!(!found.printed.contains("c2VjcmV0"), "{}", found.printed);
    // The database is as good as before.
    assert_eq!(found.of("database", "writable").0, "ok");
    Ok(())
}

async fn shared_store(kind: Option<StoreKind>) -> Result<()> {
    let mut stack = Stack::with(&[HOMELAB]).await?;
    let run = stack::run_dir::RunDir::new()?;
    let store = SharedStore::start(kind.expect("one is installed"), &run).await?;
    for paused in [false, true] {
        let mut command = stack.exchange()?.doctor();
        command.env("KOMBI_EXCHANGE_SHARED_STORE", store.url());
        if paused {
            store.pause()?;
        }
        let found = Found::by(command, "").await?;
        let expected = if paused { "fail" } else { "ok" };
        assert_eq!(found.of("store", "ping").0, expected, "{:#?}", found.lines);
    }
    store.go_on()
}

async fn kong() -> Result<()> {
    let mut stack = Stack::with(&[HOMELAB]).await?;
    let admin = port::free()?;
    // A reload with other settings, as an operator's environment would bring them.
    let reload = |trusted: &str| {
        let mut command = Command::new(std::env::var_os("KONG_BIN").expect("on Kong"));
        command.arg("reload").arg("-c").arg(stack.directory().join("kong.conf"));
        command.arg("-p").arg(stack.directory().join("kong"));
        command.env("KONG_ADMIN_LISTEN", format!("127.0.0.1:{admin}"));
        command.env("KONG_TRUSTED_IPS", trusted);
        stack::artifacts::output(&mut command)
    };
    reload("10.0.0.0/8")?;
    let url = format!("http://127.0.0.1:{admin}");
    let deadline = SystemTime::now() + Duration::from_secs(30);
    while Answer::to(stack.client().get(&url)).await.is_err() {
        assert!(SystemTime::now() < deadline, "the Admin API never answers");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let ask = |stack: &mut Stack| -> Result<Command> {
        let mut command = stack.exchange()?.doctor();
        command.args(["--kong-admin", &url]).arg("--declaration").arg(stack.declaration());
        Ok(command)
    };
    reload("10.0.0.0/8,0.0.0.0/0")?;
    // Old workers answer for a moment.
    loop {
        let found = Found::by(ask(&mut stack)?, "").await?;
        for look in ["version", "wasm", "filters", "zone", "resolver", "body buffer", "router"] {
            assert_eq!(found.of("kong", look).0, "ok", "{look}: {:#?}", found.lines);
        }
        let (outcome, told) = found.of("kong", "trusted_ips");
        if outcome == "fail" {
            assert!(told.contains("everybody can claim any address"), "{told}");
            return Ok(());
        }
        assert!(SystemTime::now() < deadline, "{:#?}", found.lines);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
