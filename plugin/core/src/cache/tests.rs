use super::*;
use crate::{
    config::KeyTerms,
    fetch::Fetched,
    jwks::KeySet,
    keys::{KeyStore, Lookup},
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
    cache.remember(raw, verified, at(expires));
}

fn recall(cache: &mut TokenCache, raw: &str, s: u64) -> Option<Rc<Token>> {
    cache.recall(raw, at(s), |_| true)
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
    assert!(cache.recall(&token, at(0), |_| false).is_none());
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
