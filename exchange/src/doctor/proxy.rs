//! The gateway as its clients reach it: whether the filter is loaded and refuses, on every route.
//!
//! Kong goes on without a filter that it cannot load, and then everybody passes. So each route is
//! asked for something that only the gate refuses.

use std::time::Duration;

use reqwest::Client;
use tokio::task::JoinSet;
use url::Url;

use super::{
    Line, answer,
    declaration::{Declaration, Guard, Request, Route},
};

/// What the gate's challenge begins with, on every route.
const CHALLENGE: &str = "Bearer realm=\"kombisphere\"";

/// A header that only the gate may set, so a client that sends it is refused, on public routes too.
const RESERVED: &str = "x-kombi-doctor";

/// How long an answer may take; the gate decides these at once.
const PATIENCE: Duration = Duration::from_secs(4);

/// What it means that the gate did not refuse.
const OPEN: &str = "the filter is not loaded: see Kong's error log from its start, wasm_filters_path, \
                    and that the file is kombi_gate.wasm with kombi_gate.meta.json beside it; take \
                    the gateway out of service until then";

/// What is expected of a route.
#[derive(Clone, Copy)]
enum Expected {
    /// It refuses whoever has no token.
    Challenge,
    /// It tells whom it would refuse.
    Shadow,
    /// It refuses a reserved header.
    Refusal,
}

/// Asks for every route.
pub(super) async fn look(client: &Client, proxy: &Url, declaration: &Declaration) -> Vec<Line> {
    let mut asked = JoinSet::new();
    let mut lines = Vec::new();
    for (place, route) in declaration.routes.iter().enumerate() {
        let Guard::Gate(_) = route.guard else { continue };
        let name = route.name.clone();
        if route.closed {
            let found = "closed: Kong itself answers everybody (request-termination)";
            lines.push(Line::ok("gateway", look_of(&name), found));
            continue;
        }
        let Some(request) = route.request.clone() else {
            let mend = "ask it by hand, without a token";
            lines.push(Line::warn("gateway", look_of(&name), "not asked: it speaks no HTTP", mend));
            continue;
        };
        let (client, proxy, expected) = (client.clone(), proxy.clone(), expected(route));
        asked.spawn(async move {
            let outcome = ask(&client, &proxy, &request, expected).await;
            (place, outcome.map(|answer| answer.judge(&name, expected)))
        });
    }
    let mut found = asked.join_all().await;
    found.sort_by_key(|(place, _)| *place);
    if !found.is_empty() && found.iter().all(|(_, outcome)| outcome.is_err()) {
        // One sentence says it.
        found.truncate(1);
    }
    lines.extend(found.into_iter().map(|(_, outcome)| {
        let mend = "see that the gateway runs and that --proxy is its proxy_listen";
        outcome.unwrap_or_else(|reason| Line::fail("gateway", "proxy", reason, mend))
    }));
    lines
}

fn expected(route: &Route) -> Expected {
    match (route.is_public(), route.is_shadow()) {
        (true, _) => Expected::Refusal,
        (false, true) => Expected::Shadow,
        (false, false) => Expected::Challenge,
    }
}

fn look_of(route: &str) -> String {
    format!("route {route}")
}

/// What came back.
struct Answer {
    status: u16,
    challenge: String,
    body: String,
}

async fn ask(
    client: &Client,
    proxy: &Url,
    request: &Request,
    expected: Expected,
) -> Result<Answer, String> {
    let method = request.method.parse().map_err(|_| "a method that cannot be sent".to_owned())?;
    let url = format!("{}{}", proxy.as_str().trim_end_matches('/'), request.path);
    let mut asking = client.request(method, url).timeout(PATIENCE).header("content-length", "0");
    if let Some(host) = &request.host {
        asking = asking.header("host", host);
    }
    if matches!(expected, Expected::Refusal | Expected::Shadow) {
        asking = asking.header(RESERVED, "1");
    }
    let (status, headers, body) = answer(asking).await?;
    let challenge = headers.get("www-authenticate").and_then(|value| value.to_str().ok());
    Ok(Answer {
        status,
        challenge: challenge.unwrap_or_default().to_owned(),
        body: String::from_utf8_lossy(&body).chars().take(4096).collect(),
    })
}

impl Answer {
    fn judge(&self, route: &str, expected: Expected) -> Line {
        let (part, look, status) = ("gateway", look_of(route), self.status);
        let says = |code: &str| self.body.contains(&format!("\"{code}\""));
        match (expected, status) {
            (Expected::Challenge, 401) if self.challenge.starts_with(CHALLENGE) => {
                Line::ok(part, look, "refuses whoever has no token")
            }
            (Expected::Refusal, 400) if says("header_reserved") => {
                Line::ok(part, look, "public, and the gate is on it")
            }
            (Expected::Shadow, 400) if says("header_reserved") => Line::warn(
                part,
                look,
                "in shadow mode: it tells whom it would refuse, and lets them pass",
                "take `shadow` away once the log tells nobody who should pass",
            ),
            (_, 503) if says("configuration_invalid") => Line::fail(
                part,
                look,
                "the gate cannot use its configuration, and refuses everybody",
                "the gateway's error log names the field (configuration_unusable)",
            ),
            (_, 429) => Line::warn(part, look, "a limit refuses us", "look again in a minute"),
            (_, 403) => Line::warn(
                part,
                look,
                "refused before the gate, by a plugin of Kong's own (403)",
                "look from an address that it lets in; whether the gate is on it was not seen",
            ),
            (_, 404) => Line::fail(
                part,
                look,
                "the gateway does not know it (404)",
                "the gateway runs another configuration: render the file and reload",
            ),
            _ => Line::fail(part, look, format!("not refused by the gate: {status}"), OPEN),
        }
    }
}
