use super::*;
use serde_json::json;
use std::time::Duration;

fn raw(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", encode(header), encode(claims))
}

fn header() -> Value {
    json!({"alg": "RS256", "kid": "k", "typ": "JWT"})
}

fn issuer() -> Issuer {
    Issuer::for_tests("https://id.example", &["project"], &[Algorithm::RS256])
}

fn check(claims: Value) -> Result<(), Code> {
    check_as(&header(), claims, None)
}

fn check_as(header: &Value, claims: Value, max_age: Option<u64>) -> Result<(), Code> {
    let validity =
        Validity { clock_skew: Duration::from_secs(5), max_age: max_age.map(Duration::from_secs) };
    let now = UnixTime::from_secs(1_000);
    Token::parse(&raw(header, &claims))
        .and_then(|token| token.check(&issuer(), &validity, now))
        .map(|window| assert!(window.contains(now)))
        .map_err(|refusal| refusal.code)
}

#[test]
fn only_a_strict_compact_jws_is_read() {
    let good = raw(&header(), &json!({}));
    assert!(Token::parse(&good).is_ok());
    let (head, rest) = good.split_once('.').unwrap();
    for bad in [
        String::new(),
        "..".to_owned(),
        format!("{good}."),
        format!("{head}.{rest}.x.y"),
        format!("{head}=.{rest}"),
        format!("{head}.e30.c2ln\n"),
        format!("{head}.e31.c2ln"),
        format!("{head}.e30.c2lo+"),
        format!("{head}.W10.c2ln"),
        format!("{head}.e30.c2l"),
    ] {
        assert_eq!(Token::parse(&bad).unwrap_err().code, Code::TokenMalformed, "{bad}");
    }
}

#[test]
fn headers_that_must_not_pass_are_refused() {
    let cases = [
        (json!({"alg": "none", "kid": "k"}), Code::AlgorithmRefused),
        (json!({"alg": "None", "kid": "k"}), Code::AlgorithmRefused),
        (json!({"alg": "nOnE", "kid": "k"}), Code::AlgorithmRefused),
        (json!({"alg": "", "kid": "k"}), Code::AlgorithmRefused),
        (json!({"alg": "rs256", "kid": "k"}), Code::AlgorithmRefused),
        (json!({"alg": "ES256K", "kid": "k"}), Code::AlgorithmRefused),
        (json!({"alg": "HS256", "kid": "k"}), Code::AlgorithmRefused),
        (json!({"alg": "HS384", "kid": "k"}), Code::AlgorithmRefused),
        (json!({"alg": "HS512", "kid": "k"}), Code::AlgorithmRefused),
        (json!({"alg": "hs256", "kid": "k"}), Code::AlgorithmRefused),
        (json!({"alg": "RSA-OAEP", "kid": "k"}), Code::AlgorithmRefused),
        (json!({"alg": ["RS256"], "kid": "k"}), Code::TokenMalformed),
        (json!({"kid": "k"}), Code::TokenMalformed),
        (json!({"alg": 5, "kid": "k"}), Code::TokenMalformed),
        (json!({"alg": "RS256"}), Code::TokenMalformed),
        (json!({"alg": "RS256", "kid": ""}), Code::TokenMalformed),
        (json!({"alg": "RS256", "kid": "k", "crit": ["exp"]}), Code::TokenMalformed),
        (json!({"alg": "RS256", "kid": "k", "crit": []}), Code::TokenMalformed),
        (json!({"alg": "RS256", "kid": "k", "crit": null}), Code::TokenMalformed),
        (json!({"alg": "RS256", "kid": "k", "b64": false}), Code::TokenMalformed),
        (json!({"alg": "RS256", "kid": "k", "b64": true}), Code::TokenMalformed),
        (json!({"alg": "RS256", "kid": "k", "b64": false, "crit": ["b64"]}), Code::TokenMalformed),
        (json!({"alg": "RS256", "kid": "k", "enc": "A256GCM"}), Code::TokenMalformed),
        (json!({"alg": "RS256", "kid": 1}), Code::TokenMalformed),
        (json!({"alg": "RS256", "kid": "k", "typ": "kombi-assertion+jwt"}), Code::TokenMalformed),
        (json!({"alg": "RS256", "kid": "k", "typ": "JOSE+JSON"}), Code::TokenMalformed),
        (json!({"alg": "RS256", "kid": "k", "typ": ""}), Code::TokenMalformed),
        (json!({"alg": "RS256", "kid": "k", "typ": null}), Code::TokenMalformed),
        (json!({"alg": "RS256", "kid": "k", "typ": "logout+jwt"}), Code::TokenMalformed),
        (json!({"alg": "RS256", "kid": "k", "typ": 1}), Code::TokenMalformed),
    ];
    for (header, code) in cases {
        assert_eq!(Token::parse(&raw(&header, &json!({}))).unwrap_err().code, code, "{header}");
    }
}

#[test]
fn what_is_no_signed_token_is_told_what_it_is() {
    for (raw, detail) in [
        ("e30.e30.e30.e30.e30", "encrypted (JWE)"),
        ("e30.e30", "2 parts"),
        ("e30", "1 parts"),
        ("e30.e30.e30.e30", "4 parts"),
    ] {
        let found = Token::parse(raw).unwrap_err().detail;
        assert!(found.contains(detail), "{raw}: {found}");
    }
}

#[test]
fn every_type_of_an_access_token_is_accepted() {
    for typ in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "application/jwt"] {
        let header = json!({"alg": "RS256", "kid": "k", "typ": typ});
        assert!(Token::parse(&raw(&header, &json!({}))).is_ok(), "{typ}");
    }
    assert!(Token::parse(&raw(&json!({"alg": "RS256", "kid": "k"}), &json!({}))).is_ok());
}

#[test]
fn nothing_may_be_named_twice_in_header_or_claims() {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let good = part(r#"{"alg":"RS256","kid":"k"}"#);
    for (header, claims) in [
        (part(r#"{"alg":"RS256","alg":"none","kid":"k"}"#), part("{}")),
        (part(r#"{"alg":"RS256","kid":"k","\u0061lg":"none"}"#), part("{}")),
        (good.clone(), part(r#"{"sub":"1","sub":"2"}"#)),
        (good.clone(), part(r#"{"roles":{"admin":{},"admin":{"1":"x"}}}"#)),
        (good.clone(), part(&format!("{{\"a\":{}1{}}}", "[".repeat(20), "]".repeat(20)))),
        (good.clone(), part("[]")),
        (good.clone(), part("{} {}")),
        (good.clone(), part("\u{feff}{}")),
    ] {
        let refusal = Token::parse(&format!("{header}.{claims}.c2ln")).unwrap_err();
        assert_eq!(refusal.code, Code::TokenMalformed);
    }
}

#[test]
fn keys_that_a_token_brings_along_are_not_looked_at() {
    let header = json!({
        "alg": "RS256", "kid": "k", "jku": "https://evil.example/keys", "x5u": "https://evil.example",
        "jwk": {"kty": "oct", "k": "c2VjcmV0"}, "x5c": ["MII"], "x5t": "x",
    });
    let token = Token::parse(&raw(&header, &json!({}))).unwrap();
    assert_eq!((token.algorithm, token.key_id.as_str()), (Algorithm::RS256, "k"));
    // Where only they could tell the key, there is none.
    let header = json!({"alg": "RS256", "jwk": {"kty": "oct", "k": "c2VjcmV0"}});
    assert_eq!(Token::parse(&raw(&header, &json!({}))).unwrap_err().code, Code::TokenMalformed);
}

#[test]
fn only_algorithms_of_the_issuer_are_accepted() {
    let header = json!({"alg": "RS512", "kid": "k"});
    let claims = json!({"aud": "project", "exp": 2_000});
    assert_eq!(check_as(&header, claims, None), Err(Code::AlgorithmRefused));
}

#[test]
fn id_tokens_and_events_are_no_access_tokens() {
    let cases = [
        (json!({"jti": "V2_1-at_2", "nbf": 900}), true),
        (json!({"jti": "V2_1-at_2", "nbf": 900, "azp": "client", "client_id": "client"}), true),
        (json!({}), true),
        (json!({"azp": "client", "scope": "read"}), true),
        (json!({"jti": "1", "auth_time": 900, "amr": ["pwd"], "acr": "1"}), true),
        (json!({"jti": "1", "nonce": null, "at_hash": null}), true),
        (json!({"jti": "1", "nonce": "n"}), false),
        (json!({"jti": "1", "at_hash": "h"}), false),
        (json!({"jti": "1", "c_hash": "h"}), false),
        (json!({"azp": "client", "client_id": "client"}), false),
        (json!({"auth_time": 900, "amr": ["pwd"]}), false),
        (json!({"sid": "V1_1"}), false),
        (
            json!({"jti": "1", "events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
            false,
        ),
    ];
    for (mut claims, accepted) in cases {
        claims["aud"] = "project".into();
        claims["exp"] = 2_000.into();
        let expected = if accepted { Ok(()) } else { Err(Code::NotAnAccessToken) };
        assert_eq!(check(claims.clone()), expected, "{claims}");
    }
}

#[test]
fn a_declared_access_token_may_speak_of_its_login() {
    let header = json!({"alg": "RS256", "kid": "k", "typ": "at+jwt"});
    let claims = json!({"aud": "project", "exp": 2_000, "azp": "client", "auth_time": 900});
    assert_eq!(check_as(&header, claims, None), Ok(()));
    let event = json!({"aud": "project", "exp": 2_000, "events": {}});
    assert_eq!(check_as(&header, event, None), Err(Code::NotAnAccessToken));
}

#[test]
fn a_subject_is_short_and_not_empty() {
    let subject = |sub: Value| {
        let token = Token::parse(&raw(&header(), &json!({ "sub": sub }))).unwrap();
        token.claims.subject().map(str::len).map_err(|refusal| refusal.code)
    };
    assert_eq!(subject(json!("x".repeat(255))), Ok(255));
    for sub in [json!("x".repeat(256)), json!(""), json!(null), json!(1), json!(["x"])] {
        assert_eq!(subject(sub), Err(Code::TokenMalformed));
    }
}

#[test]
fn a_token_may_be_too_old_whatever_its_expiry() {
    for (iat, expected) in [
        (json!(936), Ok(())),
        (json!(935), Err(Code::TokenTooOld)),
        (json!(935.001), Ok(())),
        (json!(0), Err(Code::TokenTooOld)),
        (json!("936"), Err(Code::TokenMalformed)),
        (json!(null), Err(Code::TokenMalformed)),
    ] {
        let claims = json!({"aud": "project", "exp": 2_000, "iat": iat});
        assert_eq!(check_as(&header(), claims.clone(), Some(60)), expected, "{claims}");
    }
    let without = json!({"aud": "project", "exp": 2_000});
    assert_eq!(check_as(&header(), without.clone(), Some(60)), Err(Code::TokenMalformed));
    assert_eq!(check_as(&header(), without, None), Ok(()));
}

#[test]
fn one_accepted_audience_is_enough_and_none_is_refused() {
    for aud in [json!("project"), json!(["client", "project"])] {
        assert_eq!(check(json!({"aud": aud, "exp": 2_000})), Ok(()));
    }
    for aud in [json!("projec"), json!([]), json!(["client"]), json!(null)] {
        assert_eq!(check(json!({"aud": aud, "exp": 2_000})), Err(Code::AudienceMismatch));
    }
    for aud in [json!({"project": 1}), json!(["project", 1]), json!(7)] {
        assert_eq!(check(json!({"aud": aud, "exp": 2_000})), Err(Code::TokenMalformed));
    }
}

#[test]
fn time_is_checked_with_the_skew_on_both_sides() {
    let cases = [
        (json!({"exp": 1_001}), Ok(())),
        (json!({"exp": 996}), Ok(())),
        (json!({"exp": 995}), Err(Code::TokenExpired)),
        (json!({"exp": 995.5}), Ok(())),
        (json!({"exp": 995.0009}), Err(Code::TokenExpired)),
        (json!({"exp": 1.001e3}), Ok(())),
        (json!({"exp": 2_000, "nbf": 1005.0001}), Err(Code::TokenNotYetValid)),
        (json!({"exp": 2_000, "iat": 1005.0001}), Err(Code::TokenNotYetValid)),
        (json!({"exp": 0}), Err(Code::TokenExpired)),
        (json!({"exp": 2_000, "nbf": 1_005, "iat": 1_005}), Ok(())),
        (json!({"exp": 2_000, "nbf": 1_006}), Err(Code::TokenNotYetValid)),
        (json!({"exp": 2_000, "iat": 1_006}), Err(Code::TokenNotYetValid)),
        (json!({}), Err(Code::TokenMalformed)),
        (json!({"exp": null}), Err(Code::TokenMalformed)),
        (json!({"exp": "2000"}), Err(Code::TokenMalformed)),
        (json!({"exp": true}), Err(Code::TokenMalformed)),
        (json!({"exp": [2000]}), Err(Code::TokenMalformed)),
        (json!({"exp": 253_402_300_800_u64}), Err(Code::TokenMalformed)),
        (json!({"exp": -0.001}), Err(Code::TokenMalformed)),
        (json!({"exp": 2_000, "nbf": null}), Err(Code::TokenMalformed)),
        (json!({"exp": 2_000, "iat": -5}), Err(Code::TokenMalformed)),
        (json!({"exp": 2_000, "iat": 1e300}), Err(Code::TokenMalformed)),
        (json!({"exp": -1}), Err(Code::TokenMalformed)),
        (json!({"exp": 1e15}), Err(Code::TokenMalformed)),
        (json!({"exp": u64::MAX}), Err(Code::TokenMalformed)),
        (json!({"exp": 2_000, "nbf": "0"}), Err(Code::TokenMalformed)),
    ];
    for (mut claims, expected) in cases {
        claims["aud"] = "project".into();
        assert_eq!(check(claims.clone()), expected, "{claims}");
    }
}

proptest::proptest! {
    #[test]
    fn the_window_of_a_token_is_when_its_dates_would_pass(
        (exp, nbf, iat) in (dates(), dates(), dates()),
        skew in 0..10_u64,
        max_age in proptest::option::of(1..40_u64),
        (then, now) in (0..60_000_u64, 0..60_000_u64),
    ) {
        let clock_skew = Duration::from_secs(skew);
        let validity = Validity { clock_skew, max_age: max_age.map(Duration::from_secs) };
        let mut claims = json!({"aud": "project"});
        for (name, date) in [("exp", exp), ("nbf", nbf), ("iat", iat)] {
            if let Some(date) = date {
                claims[name] = json!(date);
            }
        }
        let token = Token::parse(&raw(&header(), &claims)).unwrap();
        let check = |ms| token.check(&issuer(), &validity, UnixTime::from_millis(ms));
        if let Ok(window) = check(then) {
            proptest::prop_assert_eq!(window.contains(UnixTime::from_millis(now)), check(now).is_ok());
        }
    }
}

/// A date that may be missing, or finer than a millisecond.
fn dates() -> impl proptest::strategy::Strategy<Value = Option<f64>> {
    proptest::option::weighted(
        0.8,
        proptest::prop_oneof![
            proptest::strategy::Strategy::prop_map(0..60_u32, f64::from),
            0.0..60.0_f64,
        ],
    )
}
