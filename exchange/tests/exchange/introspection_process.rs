//! Introspection by the real program: what it logs, and with the issuer of the tests.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use kombi_exchange::config;
use kombi_spec::{code::Code, header};
use serde_json::{Value, json as value};

use crate::{
    binary::{Serving, program},
    exchange::{client, code},
    gate::Gate,
    instance::{Script, json},
    introspection::{answer, claims, question},
    issuer::{CLIENT, FakeIssuer, SECRET},
};

/// The program, with this issuer and its client.
fn introspecting(data: &Path, issuer: &str, (client, secret): (&str, &str)) -> Command {
    let mut command = program(data);
    command
        .env(config::INTROSPECTION_ISSUER, issuer)
        .env(config::INTROSPECTION_CLIENT_ID, client)
        .env(config::INTROSPECTION_CLIENT_SECRET, secret)
        .env(config::INTROSPECTION_ALLOW_PRIVATE, "true");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_leaves_one_line_in_the_log_and_no_secret_at_any_level() {
    let issuer = FakeIssuer::start(|asked| {
        Script::Send(match &*asked.token {
            "CANARY-good" => json(200, r#"{"active":true,"sub":"CANARY-sub"}"#),
            "CANARY-bad" => json(200, r#"{"active":false}"#),
            _ => json(200, r#"{"active":"CANARY"}"#),
        })
    })
    .await;
    let data = tempfile::tempdir().unwrap();
    let mut command = introspecting(data.path(), &issuer.url(), (CLIENT, SECRET));
    command.env(config::LOG, "trace");
    let serving = Serving::start_with(command);
    let (client, assertion) = (client(), Gate::new(1).sign(&claims()));
    let mut secrets = vec!["CANARY".to_owned()];
    for token in ["CANARY-good", "CANARY-bad", "CANARY-garbage", "CANARY not a token"] {
        let asked = question(&client, serving.listen, &assertion, (&issuer.url(), token));
        let asked = asked.build().unwrap();
        secrets.push(asked.headers()[header::QUESTION].to_str().unwrap().to_owned());
        client.execute(asked).await.unwrap().bytes().await.unwrap();
    }
    let log = serving.kill();
    let lines: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let requests: Vec<_> = lines.iter().filter(|line| line["message"] == "request").collect();
    let seen: Vec<_> = requests.iter().map(|line| (&line["code"], &line["introspected"])).collect();
    let (ok, unavailable, malformed) =
        (value!("ok"), value!("introspection_unavailable"), value!("question_malformed"));
    let (active, inactive, misbehaved, nothing) =
        (value!("active"), value!("inactive"), value!("misbehaved"), Value::Null);
    assert_eq!(
        seen,
        [(&ok, &active), (&ok, &inactive), (&unavailable, &misbehaved), (&malformed, &nothing)]
    );
    assert!(requests.iter().all(|line| line["sub"] == "kombi-gate"), "{requests:#?}");
    let credentials = issuer.questions()[0].authorization.clone().unwrap();
    secrets.push(credentials.strip_prefix("Basic ").unwrap().to_owned());
    secrets.push(assertion.rsplit('.').next().unwrap().to_owned());
    for secret in secrets {
        let leak = log.iter().find(|line| line.contains(&secret));
        assert!(leak.is_none(), "{secret} in {leak:?}");
    }
}

/// The issuer of the tests, as a process that dies with this value.
struct TestIssuer {
    child: Child,
    url: String,
}

impl TestIssuer {
    const SECRET: &str = "a secret: 100% of+tests";

    /// `None` where there is no Go to build it with.
    fn start() -> Option<Self> {
        let go = Command::new("go").arg("version").output().ok()?;
        assert!(go.status.success(), "{go:?}");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/issuer");
        let binary = Path::new(env!("CARGO_TARGET_TMPDIR")).join("issuer");
        let mut build = Command::new("go");
        build.args(["build", "-trimpath", "-o"]).arg(&binary).arg(".").current_dir(source);
        assert!(build.status().unwrap().success(), "the issuer could not be built");
        let mut child = Command::new(binary)
            .args(["--introspection-secret", Self::SECRET])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        Some(Self { child, url: ready["issuer"].as_str().unwrap().to_owned() })
    }

    async fn mint(&self, order: &Value) -> String {
        let order = client().post(format!("{}/test/mint", self.url)).body(order.to_string());
        let minted = order.send().await.unwrap().bytes().await.unwrap();
        let minted: Value = serde_json::from_slice(&minted).unwrap();
        minted["access_token"].as_str().unwrap().to_owned()
    }
}

impl Drop for TestIssuer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_of_the_tests_is_understood() {
    let Some(issuer) = TestIssuer::start() else {
        eprintln!("skipped: there is no Go to build the issuer with");
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let who = ("kombi-exchange", TestIssuer::SECRET);
    let serving = Serving::start_with(introspecting(data.path(), &issuer.url, who));
    let (client, assertion) = (client(), Gate::new(1).sign(&claims()));
    let ask =
        |token: &str| question(&client, serving.listen, &assertion, (&issuer.url, token)).send();
    let long = answer(ask(&issuer.mint(&value!({"sub": "ada"})).await).await.unwrap()).await;
    let claims = long.claims.unwrap();
    assert!(long.active && long.cache_for_s > 50, "{claims}");
    assert_eq!(claims["iss"], *issuer.url);
    assert!(claims["sub"].is_string() && claims["exp"].is_u64() && claims["aud"].is_array());
    let order = value!({"sub": "ada", "expires_in": 20});
    let short = answer(ask(&issuer.mint(&order).await).await.unwrap()).await;
    assert!(short.active && short.cache_for_s < 20, "{}", short.cache_for_s);
    let order = value!({"sub": "ada", "expires_in": -60});
    let expired = issuer.mint(&order).await;
    for bad in [&*expired, "rubbish"] {
        let bad = answer(ask(bad).await.unwrap()).await;
        assert_eq!((bad.active, bad.claims), (false, None));
    }
    drop(serving);
    let who = ("kombi-exchange", "guessed");
    let serving = Serving::start_with(introspecting(data.path(), &issuer.url, who));
    let asked = question(&client, serving.listen, &assertion, (&issuer.url, "rubbish"));
    let refused = asked.send().await.unwrap();
    assert_eq!(code(refused).await, Code::IntrospectionUnavailable);
    let log = serving.kill();
    assert!(log.iter().any(|line| line.contains("credentials_refused")), "{log:#?}");
}
