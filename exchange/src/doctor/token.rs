//! «Why is this 403?»: what each route's gate says of a token, by the very code that the gate runs.

use std::{collections::BTreeMap, rc::Rc, time::SystemTime};

use kombi_gate_core::{
    gate::{Gate, Passage},
    refusal::Refusal,
    request::{Fields, Head},
    step::{Forward, Step},
    time::UnixTime,
    token::Token,
    worker::{Moment, Worker},
};
use kombi_spec::code::Code;
use reqwest::Client;

use super::{
    Line,
    declaration::{Declaration, Route},
    issuer,
};
use crate::random;

/// Says for which routes `token` is good, and for the others why not.
pub(super) async fn explain(client: &Client, declaration: &Declaration, token: &str) -> Vec<Line> {
    let mut worker = Worker::default();
    let mut passed = Vec::new();
    let mut refused: BTreeMap<(&'static str, String), (Refusal, Vec<&str>)> = BTreeMap::new();
    for route in &declaration.routes {
        let Some(gate) = route.gate() else { continue };
        match ask(client, &gate, route, token, &mut worker).await {
            None => passed.push(route.name.as_str()),
            Some(refusal) => {
                let why = (refusal.code.as_str(), refusal.detail.clone());
                refused.entry(why).or_insert((refusal, Vec::new())).1.push(&route.name);
            }
        }
    }
    let mut lines = Vec::new();
    if !passed.is_empty() {
        lines.push(Line::ok("token", passed.join(", "), "it is good here"));
    }
    let good_somewhere = !passed.is_empty();
    lines.extend(refused.into_values().map(|(refusal, routes)| {
        let Refusal { code, detail, cause, .. } = &refusal;
        let more = [cause.clone(), hint(*code, declaration, token)].into_iter().flatten();
        let more: String = more.map(|more| format!(" ({more})")).collect();
        let found = format!("{} {}: {detail}{more}", code.status(), code.as_str());
        // A token that is good for some routes is as it should be; others may be for admins.
        let tell = if good_somewhere { Line::warn } else { Line::fail };
        tell("token", routes.join(", "), found, code.advice())
    }));
    lines
}

/// What the gate of a route says of the token; `None` if it lets it pass.
async fn ask(
    client: &Client,
    gate: &Rc<Gate>,
    route: &Route,
    token: &str,
    worker: &mut Worker,
) -> Option<Refusal> {
    let (method, path) = match &route.request {
        Some(request) => (request.method.as_str(), request.path.as_str()),
        None => ("GET", "/"),
    };
    let authorization = format!("Bearer {token}");
    let fields =
        Fields::new(&[(":method", method), (":path", path), ("authorization", &*authorization)]);
    let head = Head::read(fields, Some(random::request_id()))?;
    let (mut passage, mut step) = Passage::begin(Rc::clone(gate), head, &mut at(worker));
    loop {
        step = match step {
            Step::Call(call) => {
                let (outcome, _) = issuer::make(client, &call).await;
                passage.resume(outcome, &mut at(worker))
            }
            Step::Reply(reply) => return Some(reply.refusal),
            Step::Forward(Forward { would_refuse, .. }) => return would_refuse,
            Step::Answer(_) | Step::Body => return None,
            // Nobody else fetches.
            Step::Wait => passage.cannot_wait(),
        };
    }
}

fn at(worker: &mut Worker) -> Moment<'_> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = UnixTime::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    Moment { worker, zone: None, now }
}

/// What the token says where the gate, for its client's eyes, does not repeat it.
fn hint(code: Code, declaration: &Declaration, token: &str) -> Option<String> {
    let claim = match code {
        Code::AudienceMismatch | Code::AudienceScopeMissing => "aud",
        Code::IssuerUnknown => "iss",
        _ => return None,
    };
    let read = Token::parse(token).ok()?;
    let said = read.claims.get(claim)?.to_string().chars().take(300).collect::<String>();
    let mut wanted: Vec<String> = Vec::new();
    for gate in declaration.routes.iter().filter_map(Route::gate) {
        for issuer in gate.issuers() {
            let accepted = if claim == "iss" {
                vec![issuer.url.text.clone()]
            } else {
                issuer.audiences.clone()
            };
            wanted.extend(accepted);
        }
    }
    wanted.sort();
    wanted.dedup();
    Some(format!("its {claim} is {said}, accepted are {}", wanted.join(", ")))
}
