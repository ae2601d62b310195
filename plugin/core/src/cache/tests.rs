use super::*;
use crate::{
    config::KeyTerms,
    fetch::Fetched,
    identity::Identity,
    jwks::KeySet,
    keys::{KeyStore, Lookup},
    token::Window,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

const ISSUER: &str = "https://id.example";
const KEYS: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn edition() -> Edition {
    let (mut keys, now) = (KeyStore::default(), UnixTime::from_secs(0));
    let terms = KeyTerms::default();
    let Lookup::Fetch(claim) = keys.find(ISSUER, "k", &terms, None, now) else { panic!() };
    let fetched =
        Fetched { keys: KeySet::parse(KEYS).unwrap(), document: KEYS.to_vec(), fresh_for: None };
    keys.settle(&claim, Ok(fetched), &terms, None, now);
    let Lookup::Found(held) = keys.find(ISSUER, "k", &terms, None, now) else { panic!() };
    held.edition
}

/// A token with this `sub` and signature, and `padding` bytes of other claims.
fn raw(sub: &str, signature: &str, padding: usize) -> String {
    let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
    let claims = serde_json::json!({"sub": sub, "padding": "x".repeat(padding)}).to_string();
    format!("{}.{}.{signature}", encode(r#"{"alg":"EdDSA","kid":"k"}"#.to_owned()), encode(claims))
}

fn signature(n: u64) -> String {
    let mut bytes = [0; 48];
    for (index, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        let word = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(index as u32 * 7);
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

fn at(s: u64) -> UnixTime {
    UnixTime::from_secs(s)
}

fn remember(cache: &mut TokenCache, raw: &str, expires: u64) {
    let verified = Verified {
        token: Rc::new(Token::parse(raw).unwrap()),
        issuer: ISSUER.into(),
        edition: edition(),
    };
    cache.remember(raw.as_bytes(), verified, at(expires));
}

fn gate() -> Rc<Gate> {
    Rc::new(Gate::new(b"{}"))
}

/// The token as it is known to a gate that never saw it.
fn recall(cache: &mut TokenCache, raw: &str, s: u64) -> Option<Rc<Token>> {
    match cache.recall(raw.as_bytes(), &gate(), "GET", at(s), |_| true)? {
        Recalled::Verified(token) => Some(token),
        Recalled::Admitted(_) => panic!("admitted by nobody"),
    }
}

#[test]
fn a_token_is_remembered_until_it_expires() {
    let mut cache = TokenCache::default();
    let token = raw("a", &signature(1), 0);
    assert!(recall(&mut cache, &token, 0).is_none());
    remember(&mut cache, &token, 100);
    assert_eq!(recall(&mut cache, &token, 99).unwrap().claims.subject().unwrap(), "a");
    assert!(recall(&mut cache, &token, 100).is_none());
    assert!(recall(&mut cache, &token, 99).is_none(), "it is gone");
    assert_eq!(cache.take_counts(), CacheCounts { hits: 1, misses: 3 });
    assert_eq!(cache.bytes, 0);
}

#[test]
fn tokens_that_differ_in_one_byte_anywhere_are_different_tokens() {
    let mut cache = TokenCache::default();
    let token = raw("a", &signature(1), 20);
    remember(&mut cache, &token, 100);
    for index in 0..token.len() {
        let mut other = token.clone().into_bytes();
        other[index] = if other[index] == b'x' { b'y' } else { b'x' };
        let other = String::from_utf8(other).unwrap();
        assert!(recall(&mut cache, &other, 0).is_none(), "byte {index}");
    }
    assert!(recall(&mut cache, token.strip_prefix('e').unwrap(), 0).is_none());
    assert!(recall(&mut cache, &format!("x{token}"), 0).is_none());
    assert!(recall(&mut cache, "", 0).is_none());
    assert!(recall(&mut cache, &token, 0).is_some());
}

#[test]
fn tokens_with_the_same_end_do_not_get_into_each_others_way() {
    let mut cache = TokenCache::default();
    let tokens: Vec<_> = ["a", "b", "c"].iter().map(|sub| raw(sub, &signature(1), 0)).collect();
    for token in &tokens {
        remember(&mut cache, token, 100);
    }
    for (token, sub) in tokens.iter().zip(["a", "b", "c"]) {
        assert_eq!(recall(&mut cache, token, 0).unwrap().claims.subject().unwrap(), sub);
    }
}

#[test]
fn a_token_whose_keys_no_longer_stand_is_forgotten() {
    let mut cache = TokenCache::default();
    let token = raw("a", &signature(1), 0);
    remember(&mut cache, &token, 100);
    assert!(cache.recall(token.as_bytes(), &gate(), "GET", at(0), |_| false).is_none());
    assert!(recall(&mut cache, &token, 0).is_none());
}

#[test]
fn a_flood_of_valid_tokens_neither_grows_the_cache_nor_drives_out_who_comes_often() {
    let mut cache = TokenCache::default();
    let regular = raw("regular", &signature(0), 0);
    remember(&mut cache, &regular, 100);
    for n in 1..10_000 {
        assert!(recall(&mut cache, &regular, 0).is_some(), "after {n}");
        remember(&mut cache, &raw("flood", &signature(n), 0), 100);
        assert!(cache.bytes <= MAX_BYTES);
    }
    let kept = cache.places.iter().flatten().count();
    assert!(kept > 900, "{kept} of {}", ROWS * WAYS);
}

#[test]
fn memory_is_bounded_in_bytes_too() {
    let mut cache = TokenCache::default();
    for n in 0..2_000 {
        remember(&mut cache, &raw("large", &signature(n), 8_000), 100);
        assert!(cache.bytes <= MAX_BYTES);
    }
    let kept = cache.places.iter().flatten().count();
    assert!((100..400).contains(&kept), "{kept}");
    let counted: usize = cache.places.iter().flatten().map(|entry| entry.bytes).sum();
    assert_eq!(counted, cache.bytes);
    let giant = raw("giant", &signature(7), 200_000);
    remember(&mut cache, &giant, 100);
    assert!(recall(&mut cache, &giant, 0).is_none());
}

/// The admission of a user to `gate`, for the seconds in `window`.
fn admission(gate: &Rc<Gate>, method: Option<&str>, window: std::ops::Range<u64>) -> Rc<Admission> {
    let window = Window::new(at(window.start), at(window.end));
    Rc::new(Admission::new(gate, method, window, Identity::default(), None))
}

#[test]
fn an_admission_is_for_one_gate_and_method_and_as_long_as_the_dates_do() {
    let mut cache = TokenCache::default();
    let token = raw("a", &signature(1), 0);
    let (one, other) = (gate(), gate());
    let is_admitted = |cache: &mut TokenCache, gate: &Rc<Gate>, method: &str, s| {
        let recalled = cache.recall(token.as_bytes(), gate, method, at(s), |_| true);
        matches!(recalled, Some(Recalled::Admitted(_)))
    };
    cache.admit(token.as_bytes(), admission(&one, None, 10..20));
    assert!(!is_admitted(&mut cache, &one, "GET", 10), "it was never verified");
    remember(&mut cache, &token, 100);
    assert!(!is_admitted(&mut cache, &one, "GET", 10), "it was verified anew");
    cache.admit(token.as_bytes(), admission(&one, None, 10..20));
    cache.admit(token.as_bytes(), admission(&other, Some("GET"), 30..100));
    for (gate, method, s, expected) in [
        (&one, "GET", 10, true),
        (&one, "POST", 19, true),
        (&one, "GET", 9, false),
        (&one, "GET", 20, false),
        (&other, "GET", 10, false),
        (&other, "GET", 30, true),
        (&other, "get", 30, false),
        (&other, "POST", 30, false),
        (&one, "GET", 30, false),
    ] {
        assert_eq!(is_admitted(&mut cache, gate, method, s), expected, "{method} at {s}");
    }
    drop(one);
    let newcomers: Vec<_> = std::iter::repeat_with(gate).take(1000).collect();
    assert!(newcomers.iter().all(|gate| !is_admitted(&mut cache, gate, "GET", 10)));
    assert!(!is_admitted(&mut cache, &other, "GET", 100), "the token has expired");
    remember(&mut cache, &token, 200);
    assert!(!is_admitted(&mut cache, &other, "GET", 30), "what was known is gone with it");
}

#[test]
fn admissions_are_bounded_and_count_as_memory() {
    let mut cache = TokenCache::default();
    let token = raw("a", &signature(1), 0);
    remember(&mut cache, &token, 100);
    let gates: Vec<_> = std::iter::repeat_with(gate).take(50).collect();
    for gate in &gates {
        let before = cache.bytes;
        cache.admit(token.as_bytes(), admission(gate, None, 0..100));
        assert!(cache.bytes >= before && cache.bytes <= MAX_BYTES);
    }
    let entry = cache.places.iter().flatten().next().unwrap();
    assert_eq!((entry.admissions.len(), entry.bytes), (MOST_ADMISSIONS, cache.bytes));
    for n in 2..2_000 {
        let token = raw("large", &signature(n), 2_000);
        remember(&mut cache, &token, 100);
        for gate in &gates {
            cache.admit(token.as_bytes(), admission(gate, None, 0..100));
        }
        assert!(cache.bytes <= MAX_BYTES);
    }
    let counted: usize = cache.places.iter().flatten().map(|entry| entry.bytes).sum();
    assert_eq!(counted, cache.bytes);
    assert!(recall(&mut cache, &token, 100).is_none());
}
