//! What no input may do to the gate's core: one function for each kind of input, for cargo-fuzz
//! and for the core's own tests.

use std::rc::Rc;

use kombi_gate_core::{
    ai::answer::{Answer, Hides, Passes},
    config::KeyTerms,
    fetch::Fetched,
    gate::{Gate, Passage},
    identity::Identity,
    json,
    jwks::KeySet,
    request::{Fields, Head},
    roles::{Grants, RoleSource},
    step::Step,
    time::UnixTime,
    worker::{Moment, Worker},
};
use kombi_spec::code::Code;
use serde_json::{Value, json};

const ISSUER: &str = "https://id.example";
const PROJECT: &str = "273456789012345678";

/// The moment at which everything happens, in seconds.
const NOW_S: u64 = 1_800_000_000;

/// The public key of RFC 8037 appendix A.2, as an issuer publishes it.
pub const KEYS: &str = r#"{"keys":[{"kty":"OKP","use":"sig","kid":"k","alg":"EdDSA","crv":"Ed25519",
"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// The one token that was signed with the private half of that key.
pub const GOOD: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6ImsiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJzdWIiOiIyOTAwMDAwMDAwMDAwMDAwMDEiLCJhdWQiOlsiMjczNDU2Nzg5MDEyMzQ1Njc4Il0sImV4cCI6MTgwMDAwMzYwMCwiaWF0IjoxNzk5OTk5OTQwLCJuYmYiOjE3OTk5OTk5NDAsImp0aSI6IlYyXzEtYXRfMiIsInVybjp6aXRhZGVsOmlhbTpvcmc6cHJvamVjdDoyNzM0NTY3ODkwMTIzNDU2Nzg6cm9sZXMiOnsidXNlciI6eyIzMTAwMDAwMDAwMDAwMDAwMDEiOiJhLmV4YW1wbGUifX19.B7onhuTgU-qHecX449eT3M-ugaleWpldoVicDnNZ7D6i7d9ycigBJOg5mBdVQ9I6nUtpA__WPygjJlZjX5T2Ag";

/// A route whose issuer has the one key.
struct Route {
    gate: Rc<Gate>,
    worker: Worker,
}

impl Route {
    fn new() -> Self {
        let configuration = json!({"issuers": [{
            "issuer": ISSUER,
            "audiences": [PROJECT],
            "project": PROJECT,
            "algorithms": ["RS256", "PS256", "ES256", "ES384", "EdDSA"],
        }]});
        Self::with(configuration.to_string().as_bytes())
    }

    fn with(configuration: &[u8]) -> Self {
        let mut worker = Worker::default();
        let document = KEYS.as_bytes().to_vec();
        if let (Some(claim), Ok(keys)) =
            (worker.keys.tend(ISSUER, None, now()), KeySet::parse(&document))
        {
            let fetched = Fetched { keys, document, fresh_for: None };
            worker.keys.settle(&claim, Ok(fetched), &KeyTerms::default(), None, now());
        }
        Self { gate: Rc::new(Gate::new(configuration)), worker }
    }

    fn send(&mut self, headers: &[(Vec<u8>, Vec<u8>)]) -> Step {
        let mut fields =
            vec![(b":method".to_vec(), b"GET".to_vec()), (b":path".to_vec(), b"/x".to_vec())];
        fields.extend_from_slice(headers);
        let head = Head::read(Fields::new(&fields), Some("r1".to_owned())).unwrap_or_default();
        let mut moment = Moment { worker: &mut self.worker, zone: None, now: now() };
        Passage::begin(Rc::clone(&self.gate), head, &mut moment).1
    }

    fn authorized(&mut self, value: &[u8]) -> Step {
        self.send(&[(b"authorization".to_vec(), value.to_vec())])
    }
}

fn now() -> UnixTime {
    UnixTime::from_secs(NOW_S)
}

/// `input` as the value of `Authorization`, to a worker that knows no token and to one that does.
///
/// # Panics
/// If anything but the good token passes, or it does not.
pub fn token(input: &[u8]) {
    let mut route = Route::new();
    let good = format!("Bearer {GOOD}");
    for remembered in [false, true] {
        if let Step::Forward(forward) = route.authorized(input) {
            let text = std::str::from_utf8(input).unwrap_or_default();
            let (scheme, token) = text.split_once(' ').unwrap_or_default();
            assert!(scheme.eq_ignore_ascii_case("bearer"), "another scheme passed");
            assert_eq!(token.trim_start_matches(' '), GOOD, "a token passed that nobody signed");
            assert!(forward.would_refuse.is_none());
        }
        let step = route.authorized(good.as_bytes());
        assert!(matches!(step, Step::Forward(_)), "the good token: {remembered}, {step:?}");
    }
}

/// `input` as an issuer's key set.
///
/// # Panics
/// If a key of it verifies what another has signed.
pub fn key_set(input: &[u8]) {
    let Ok(keys) = KeySet::parse(input) else { return };
    let Ok(own) = KeySet::parse(KEYS.as_bytes()) else { return };
    let (message, signature) = GOOD.rsplit_once('.').unwrap_or_default();
    let document: Value = serde_json::from_slice(input).unwrap_or_default();
    let listed = document.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
    for listed in &listed {
        let Some(kid) = listed.get("kid").and_then(Value::as_str) else { continue };
        let Some(key) = keys.get(kid) else { continue };
        let member = |name: &str| listed.get(name).and_then(Value::as_str).unwrap_or_default();
        assert!(listed.get("d").is_none_or(Value::is_null), "a private key is used");
        assert_ne!(member("kty"), "oct", "a shared secret is used");
        assert!(["", "sig"].contains(&member("use")), "a key for another use is used");
        let is_own = member("x") == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        for algorithm in ["RS256", "PS512", "ES256", "ES384", "EdDSA"] {
            let Ok(algorithm) = algorithm.parse() else { continue };
            let verified = key.verifies(message, signature, algorithm);
            assert!(!verified || is_own, "a key verifies what another signed");
            assert!(!key.verifies(message, "", algorithm), "no signature is one");
        }
    }
    assert!(own.get("k").is_some());
}

/// `input` as the claims of a token that was verified.
///
/// # Panics
/// If somebody holds a role that the claims do not speak of, or a claim gets into a header raw.
pub fn roles(input: &[u8]) {
    let Ok(claims) = json::parse_object(input) else { return };
    let second: Result<Value, _> = serde_json::from_slice(input);
    assert_eq!(second.ok(), Some(Value::Object(claims.clone())), "two readers disagree");
    let own = RoleSource::Zitadel { project: Some(PROJECT.to_owned()) };
    let any = RoleSource::Zitadel { project: None };
    for source in [own, any] {
        let grants = Grants::read(&claims, &source);
        for role in grants.names() {
            assert!(!role.is_empty() && grants.hold(role, None), "a role without a name");
            assert!(claims.values().any(|claim| names(claim, role)), "{role:?} is made up");
        }
        let identity = Identity { roles: grants.clone(), ..Identity::default() };
        let headers = identity.headers();
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\;".contains(&byte);
        assert!(headers.iter().all(|header| header.value.bytes().all(plain)), "{headers:?}");
        let listed = headers.iter().find(|header| header.name == kombi_spec::header::ROLES);
        let entries = listed.map_or(0, |header| match header.value.as_str() {
            "" => 0,
            list => list.split(',').count(),
        });
        assert_eq!(entries, grants.names().count(), "a role is two entries");
    }
}

/// Whether `claim` has `name` in it, as a string or as a member.
fn names(claim: &Value, name: &str) -> bool {
    match claim {
        Value::String(text) => text == name,
        Value::Array(entries) => entries.iter().any(|entry| names(entry, name)),
        Value::Object(members) => members.contains_key(name),
        _ => false,
    }
}

/// `input` as a route's configuration.
///
/// # Panics
/// If a request without a token passes a route that does not say that it is public.
pub fn config(input: &[u8]) {
    let mut route = Route::with(input);
    let unusable = route.gate.unusable().is_some();
    let says = |name: &str, value: &Value| {
        let read: Value = serde_json::from_slice(input).unwrap_or_default();
        read.get(name) == Some(value)
    };
    match route.send(&[]) {
        Step::Forward(_) => assert!(
            !unusable && (says("access", &json!("public")) || says("shadow", &json!(true))),
            "a route that was never said to be public lets everybody pass"
        ),
        Step::Reply(reply) => {
            let configuration = reply.refusal.code == Code::ConfigurationInvalid;
            assert_eq!(configuration, unusable, "{:?}", reply.refusal);
        }
        step => panic!("no token, and yet {step:?}"),
    }
}

/// `input` as headers: lines of a name and a value, with a colon between them.
///
/// # Panics
/// If a reserved header is missed, or anything passes without the good token.
pub fn head(input: &[u8]) {
    let headers: Vec<_> = input
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = line.split_at(colon);
            Some((name.to_vec(), value.get(1..).unwrap_or_default().to_vec()))
        })
        .collect();
    let reserved = headers.iter().any(|(name, _)| is_reserved(name));
    let mut public = Route::with(br#"{"access":"public"}"#);
    match public.send(&headers) {
        Step::Forward(_) => assert!(!reserved, "a reserved header passed"),
        step => assert!(reserved, "a public route: {step:?}"),
    }
    let step = Route::new().send(&headers);
    if let Step::Forward(_) = step {
        let good = |value: &[u8]| value.ends_with(GOOD.as_bytes());
        assert!(headers.iter().any(|(_, value)| good(value)) && !reserved, "no token, and passed");
    }
}

/// `input` as a provider's answer, a stream or a document, which comes in chunks of a size that its
/// first byte says.
///
/// # Panics
/// If the client does not get the answer as it is where nothing is hidden, or more is missing than
/// lines where usage is; or if the chunks make a difference.
pub fn answer(input: &[u8]) {
    let Some((size, answer)) = input.split_first() else { return };
    let size = usize::from(*size).max(1);
    for media_type in [&b"text/event-stream"[..], b"application/json"] {
        for hides in [Hides::Nothing, Hides::Here, Hides::Before] {
            let begin = || Answer::begin(media_type, None, hides);
            let (mut whole, mut split) = (begin(), begin());
            let passed = pass(&mut whole, [answer]);
            assert_eq!(passed, pass(&mut split, answer.chunks(size)), "{hides:?}");
            assert_eq!(whole.told(), split.told(), "{hides:?}");
            if passed != answer {
                assert_eq!(hides, Hides::Here);
                assert!(is_within(&passed, answer), "something was added");
                let usage = whole.told().usage;
                assert!(usage.is_some(), "no usage, and something is missing");
            }
        }
    }
}

/// What the client gets of `chunks`.
fn pass<'a>(answer: &mut Answer, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut passed = Vec::new();
    let ends: [(&[u8], bool); 1] = [(b"", true)];
    for (chunk, ends) in chunks.into_iter().map(|chunk| (chunk, false)).chain(ends) {
        match answer.take(chunk, ends) {
            Passes::AsItIs => passed.extend_from_slice(chunk),
            Passes::Instead(instead) => passed.extend(instead),
        }
    }
    passed
}

/// Whether `part` is `whole` with some bytes left out.
fn is_within(part: &[u8], whole: &[u8]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|byte| rest.any(|other| other == byte))
}

/// A second reading of "a spelling of x-kombi-".
fn is_reserved(name: &[u8]) -> bool {
    let folded: String = name
        .iter()
        .map(|byte| match byte.to_ascii_lowercase() {
            letter @ (b'a'..=b'z' | b'0'..=b'9') => char::from(letter),
            _ => '-',
        })
        .collect();
    folded.starts_with("x-kombi-")
}
