//! `cargo stack demo`: the gateway's main job, step by step, each with what was sent and what
//! came back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kombi_spec::header;
use serde_json::{Value, json};

use crate::{
    ai::Accounting,
    answer::Answer,
    stack::{HOMELAB, Instance, Options, Stack, WayIn, received_header},
};

/// A second instance, to see that one that fails leaves the other alone.
const WORKSHOP: Instance =
    Instance { id: "workshop", owner: "ada", members: &[], way_in: WayIn::Hook };

/// Longest time until an instance that is down is reported.
const OUTAGE_ANSWER: Duration = Duration::from_millis(2_500);

/// Longest time until a call that has ended is in the ledger.
const LEDGER_ANSWER: Duration = Duration::from_secs(20);

/// Runs the demo on a stack of its own; returns whether every step was as expected.
pub async fn run(options: Options) -> Result<bool> {
    let stack = Stack::start(Options {
        instances: &[HOMELAB, WORKSHOP],
        ai: Some(Accounting::Ledger),
        ..options
    })
    .await?;
    println!("The gateway is {} at {}.\n", stack.gateway.kind(), stack.gateway.url());
    let mut demo = Demo { stack, failed: 0 };
    demo.tokens().await?;
    demo.roles_and_headers().await?;
    demo.rotation().await?;
    demo.login().await?;
    demo.direct_calls().await?;
    demo.models().await?;
    demo.outages().await?;
    if demo.failed > 0 {
        println!("\n{} steps FAILED; the logs:\n{}", demo.failed, demo.stack.logs());
    } else {
        println!("\nEvery step was as expected.");
    }
    Ok(demo.failed == 0)
}

struct Demo {
    stack: Stack,
    failed: u32,
}

impl Demo {
    /// Reports one step.
    fn step(&mut self, sent: &str, found: &str, expected: &str) {
        if found == expected {
            println!("ok    {sent:<58} {found}");
        } else {
            println!("FAIL  {sent:<58} {found}, expected {expected}");
            self.failed += 1;
        }
    }

    async fn get_with(
        &mut self,
        what: &str,
        token: &str,
        path: &str,
        expected: &str,
    ) -> Result<()> {
        let answer = self.stack.get_as(token, path).await?;
        self.step(&format!("GET {path} with {what}"), &answer.summary(), expected);
        Ok(())
    }

    async fn minted(&mut self, what: &str, order: Value, expected: &str) -> Result<()> {
        let token = self.stack.issuer.mint(order).await?;
        self.get_with(what, &token, "/user", expected).await
    }

    async fn tokens(&mut self) -> Result<()> {
        for (path, expected) in [("/public", "200"), ("/user", "401 token_missing")] {
            let answer = Answer::to(self.stack.get(path)).await?;
            self.step(&format!("GET {path} without a token"), &answer.summary(), expected);
        }
        let ada = self.stack.issuer.token("ada").await?;
        self.get_with("Ada's token", &ada, "/user", "200").await?;
        self.minted(
            "an expired token",
            json!({"sub": "ada", "expires_in": -60}),
            "401 token_expired",
        )
        .await?;
        self.minted(
            "a token for another audience",
            json!({"sub": "ada", "audience": ["another-project"]}),
            "401 audience_mismatch",
        )
        .await?;
        self.minted(
            "a token of another issuer",
            json!({"sub": "ada", "issuer": "https://evil.example"}),
            "401 issuer_unknown",
        )
        .await?;
        self.get_with("a tampered token", &tampered(&ada)?, "/user", "401 signature_invalid")
            .await?;
        self.get_with(
            "an unsigned token (alg none)",
            &unsigned(&ada)?,
            "/user",
            "401 algorithm_refused",
        )
        .await
    }

    async fn roles_and_headers(&mut self) -> Result<()> {
        let ada = self.stack.issuer.token("ada").await?;
        let grace = self.stack.issuer.token("grace").await?;
        self.get_with("Ada's token (role user)", &ada, "/admin", "403 role_missing").await?;
        self.get_with("Grace's token (role admin:tools)", &grace, "/admin", "200").await?;
        let answer = self.stack.get_as(&grace, "/admin").await?;
        let roles = received_header(&answer, header::ROLES).unwrap_or_default();
        self.step("what the backend receives as x-kombi-roles", &roles, "admin:tools,user");
        for name in ["x-kombi-sub", "X_Kombi_Sub"] {
            let request = self.stack.get("/user").bearer_auth(&ada).header(name, "1");
            let answer = Answer::to(request).await?;
            let sent = format!("GET /user with a header {name} of one's own");
            self.step(&sent, &answer.summary(), "400 header_reserved");
        }
        Ok(())
    }

    async fn rotation(&mut self) -> Result<()> {
        let old = self.stack.issuer.mint(json!({"sub": "ada", "expires_in": 3})).await?;
        self.stack.issuer.rotate("ES256", false).await?;
        let new = self.stack.issuer.token("ada").await?;
        self.get_with("the first token after a key rotation", &new, "/user", "200").await?;
        self.get_with("a token from before the rotation", &old, "/user", "200").await?;
        // The token's 3 s, the clock skew of 5 s, and one for rounding.
        tokio::time::sleep(Duration::from_secs(9)).await;
        self.get_with("the same 9 s later (it lived 3 s)", &old, "/user", "401 token_expired").await
    }

    async fn login(&mut self) -> Result<()> {
        let ada = self.stack.issuer.token("ada").await?;
        let first = self.stack.log_in(&ada, HOMELAB.id).await?;
        self.step("POST …/homelab/session as Ada, the first time", &first.summary(), "200");
        let second = self.stack.log_in(&ada, HOMELAB.id).await?;
        let (first, second) = (first.json(), second.json());
        let same =
            first["record"]["id"].is_string() && first["record"]["id"] == second["record"]["id"];
        let found = if same { "the same user" } else { "another user" };
        self.step("POST …/homelab/session as Ada, the second time", found, "the same user");
        let instance = self.stack.instances.first().context("the homelab runs")?.url();
        let token = second["token"].as_str().unwrap_or_default();
        let records = format!("{instance}/api/collections/homelabs/records");
        let request = self.stack.client().get(records).header("authorization", token);
        let answer = Answer::to(request).await?;
        let opened = format!("{} with {} record", answer.status, answer.json()["totalItems"]);
        self.step(
            "GET a record in PocketBase with the returned token",
            &opened,
            "200 with 1 record",
        );
        let mallory = self.stack.issuer.token("mallory").await?;
        let answer = self.stack.log_in(&mallory, HOMELAB.id).await?;
        let sent = "POST …/homelab/session as Mallory, a stranger";
        self.step(sent, &answer.summary(), "403 instance_forbidden");
        let grace = self.stack.issuer.token("grace").await?;
        let logins = (0..8).map(|_| self.stack.log_in(&grace, HOMELAB.id));
        let mut users = Vec::new();
        for answer in futures_util::future::join_all(logins).await {
            users.push(answer?.json()["record"]["id"].to_string());
        }
        users.sort();
        users.dedup();
        let sent = "eight first logins of Grace at once";
        self.step(sent, &format!("{} user", users.len()), "1 user");
        Ok(())
    }

    async fn direct_calls(&mut self) -> Result<()> {
        let exchange = self.stack.exchange()?.url();
        let url = format!("{exchange}/sso/instances/{}/session", HOMELAB.id);
        let answer = Answer::to(self.stack.client().post(&url)).await?;
        let sent = "POST to the exchange itself, without an assertion";
        self.step(sent, &answer.summary(), "401 assertion_missing");
        let (fresh, replayed) = self.replay(&url).await?;
        let sent = "POST to the exchange itself with an assertion, once";
        self.step(sent, &fresh.summary(), "200");
        let sent = "POST to the exchange itself with it again";
        self.step(sent, &replayed.summary(), "401 assertion_replayed");
        Ok(())
    }

    /// Sends one assertion twice, as somebody would who had overheard it.
    async fn replay(&mut self, url: &str) -> Result<(Answer, Answer)> {
        let sub = self.stack.issuer.subject("ada").await?;
        let assertion = self.stack.exchange()?.assertion(&sub, url)?;
        let post = || self.stack.client().post(url).header(header::ASSERTION, &assertion);
        Ok((Answer::to(post()).await?, Answer::to(post()).await?))
    }

    async fn models(&mut self) -> Result<()> {
        let ada = self.stack.issuer.token("ada").await?;
        for (model, expected) in [("gpt-4o", "200"), ("nosuchmodel", "404")] {
            let body = json!({
                "model": model,
                "stream": true,
                "messages": [{"role": "user", "content": "hello"}],
            });
            let request = self.stack.post("/ai/v1/chat/completions").bearer_auth(&ada).json(&body);
            let answer = Answer::to(request).await?;
            let what = format!("POST /ai/v1/chat/completions as Ada, {model}");
            self.step(&what, &answer.summary(), expected);
        }
        let deadline = Instant::now() + LEDGER_ANSWER;
        let row = loop {
            let report = self.stack.exchange()?.usage_by_model()?;
            let row = &report["rows"][0];
            if row["calls"] == 1 || Instant::now() >= deadline {
                let numbers = (&row["model"], &row["input_tokens"], &row["output_tokens"]);
                break format!("{}: {} in, {} out", numbers.0, numbers.1, numbers.2);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        self.step("kombi-exchange usage report", &row, "\"gpt-4o\": 19 in, 10 out");
        Ok(())
    }

    async fn outages(&mut self) -> Result<()> {
        self.stack.exchange()?.crash_and_restart().await?;
        let ada = self.stack.issuer.token("ada").await?;
        let answer = self.stack.log_in(&ada, HOMELAB.id).await?;
        self.step("login after kill -9 of the exchange and a restart", &answer.summary(), "200");
        self.stack.instances.first().context("the homelab runs")?.pause()?;
        let before = Instant::now();
        let answer = self.stack.log_in(&ada, HOMELAB.id).await?;
        let took = before.elapsed();
        let verdict = if took <= OUTAGE_ANSWER { "in time" } else { "too late" };
        self.step(
            &format!("login while PocketBase hangs ({} ms)", took.as_millis()),
            &format!("{}, {verdict}", answer.summary()),
            "503 instance_unavailable, in time",
        );
        let answer = self.stack.log_in(&ada, WORKSHOP.id).await?;
        self.step("login into another instance meanwhile", &answer.summary(), "200");
        self.stack.instances.first().context("the homelab runs")?.go_on()?;
        self.stack.issuer.kill()?;
        self.get_with("a known key while the issuer is down", &ada, "/user", "200").await
    }
}

/// The token with another subject and the old signature.
fn tampered(token: &str) -> Result<String> {
    let (header, payload, signature) = parts(token)?;
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
    claims["sub"] = json!("1");
    Ok(format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string())))
}

/// The token's claims under `alg: none`, without a signature.
fn unsigned(token: &str) -> Result<String> {
    let (_, payload, _) = parts(token)?;
    Ok(format!("{}.{payload}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#)))
}

fn parts(token: &str) -> Result<(&str, &str, &str)> {
    let (rest, signature) = token.rsplit_once('.').context("a JWT has three parts")?;
    let (header, payload) = rest.split_once('.').context("a JWT has three parts")?;
    Ok((header, payload, signature))
}
