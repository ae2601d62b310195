//! An access token as it arrives: a JWS in compact form (RFC 7515) with JWT claims (RFC 7519),
//! and every check on it that needs no key.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use kombi_spec::code::Code;
use serde_json::{Map, Value};

use crate::{config::Issuer, json, refusal::Refusal, time::UnixTime};

/// The last second of the year 9999: a later NumericDate is a mistake or an attack.
const LATEST_S: f64 = 253_402_300_799.0;

/// A token that can be read; nothing in it is trusted until its signature is verified.
#[derive(Debug, Clone)]
pub struct Token {
    raw: String,
    /// The signature's algorithm.
    pub algorithm: Algorithm,
    /// The id of the key that signed, as the token says.
    pub key_id: String,
    /// The claims, unverified.
    pub claims: Map<String, Value>,
}

impl Token {
    /// Reads a token.
    pub fn parse(raw: &str) -> Result<Self, Refusal> {
        let mut parts = raw.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed("the token does not have three parts"));
        };
        let header = object(header, "header")?;
        let (algorithm, key_id) = read_header(&header)?;
        let claims = object(claims, "payload")?;
        // jsonwebtoken decodes the signature itself; its canonical form is checked here.
        decode(signature, "signature")?;
        Ok(Self { raw: raw.to_owned(), algorithm, key_id, claims })
    }

    /// What was signed, and the signature in base64url.
    #[must_use]
    pub fn signed_parts(&self) -> (&str, &str) {
        self.raw.rsplit_once('.').unwrap_or_default()
    }

    /// The claim `iss`.
    pub fn issuer(&self) -> Result<&str, Refusal> {
        self.string("iss")?.ok_or_else(|| malformed("the token has no iss"))
    }

    /// The claim `sub`.
    pub fn subject(&self) -> Result<&str, Refusal> {
        match self.string("sub")? {
            Some(sub) if !sub.is_empty() => Ok(sub),
            _ => Err(malformed("the token has no sub")),
        }
    }

    /// A claim that is a string, if it is there.
    pub fn string(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.claims.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(malformed(format!("the claim {name} is not a string"))),
        }
    }

    /// Checks what `issuer` demands of its tokens, short of the signature: these checks are
    /// cheap, and a token that fails one is not worth the arithmetic.
    pub fn check(&self, issuer: &Issuer, skew: Duration, now: UnixTime) -> Result<(), Refusal> {
        if !issuer.algorithms.contains(&self.algorithm) {
            return Err(Refusal::new(
                Code::AlgorithmRefused,
                format!("the issuer's tokens may not be signed with {:?}", self.algorithm),
            ));
        }
        self.check_audience(issuer)?;
        self.check_time(skew, now)
    }

    /// `aud` is a string or an array of strings (RFC 7519 section 4.1.3); one match is enough.
    fn check_audience(&self, issuer: &Issuer) -> Result<(), Refusal> {
        let audiences: Vec<&str> = match self.claims.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many
                .iter()
                .map(|value| value.as_str().ok_or_else(|| malformed("aud holds a non-string")))
                .collect::<Result<_, _>>()?,
            None | Some(Value::Null) => Vec::new(),
            Some(_) => return Err(malformed("the claim aud is not a string or an array")),
        };
        if audiences.iter().any(|found| issuer.audiences.iter().any(|wanted| wanted == found)) {
            return Ok(());
        }
        Err(Refusal::new(
            Code::AudienceMismatch,
            "the token's aud names none of the audiences accepted here",
        ))
    }

    fn check_time(&self, skew: Duration, now: UnixTime) -> Result<(), Refusal> {
        let expires = self.moment("exp")?.ok_or_else(|| malformed("the token has no exp"))?;
        // RFC 7519 section 4.1.4: on or after `exp` the token must not be accepted.
        if now >= expires.plus(skew) {
            let ago = now.since(expires).as_secs();
            return Err(Refusal::new(Code::TokenExpired, format!("the token expired {ago} s ago")));
        }
        for claim in ["nbf", "iat"] {
            if let Some(begins) = self.moment(claim)?
                && begins > now.plus(skew)
            {
                let ahead = begins.since(now).as_secs();
                return Err(Refusal::new(
                    Code::TokenNotYetValid,
                    format!("the token's {claim} is {ahead} s in the future"),
                ));
            }
        }
        Ok(())
    }

    /// The moment until which the token may be accepted, skew not counted.
    pub fn expires(&self) -> Result<Option<UnixTime>, Refusal> {
        self.moment("exp")
    }

    /// A NumericDate: a number of seconds that is not negative, not absurd, maybe with a fraction.
    fn moment(&self, name: &str) -> Result<Option<UnixTime>, Refusal> {
        match self.claims.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                // The cast cannot lose anything: the value is between 0 and 2.6e14.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                Some(s) if (0.0..=LATEST_S).contains(&s) => {
                    Ok(Some(UnixTime::from_millis((s * 1000.0) as u64)))
                }
                _ => Err(malformed(format!("the claim {name} is not a date"))),
            },
        }
    }
}

/// Reads the JOSE header (RFC 7515 section 4). Keys that a token brings along (`jwk`, `jku`,
/// `x5c`, `x5u`) are never looked at.
fn read_header(header: &Map<String, Value>) -> Result<(Algorithm, String), Refusal> {
    if header.contains_key("crit") || header.contains_key("b64") {
        // We understand no extension, so each critical one must be refused (section 4.1.11).
        return Err(malformed("the token demands an extension (crit) that is not supported"));
    }
    match header.get("typ") {
        None => {}
        Some(Value::String(typ)) if is_access_token_type(typ) => {}
        Some(_) => return Err(malformed("the token's typ is neither JWT nor at+jwt")),
    }
    let Some(Value::String(alg)) = header.get("alg") else {
        return Err(malformed("the token has no alg"));
    };
    // `none` and HMAC parse as no algorithm or as one that no issuer may list.
    let algorithm = alg
        .parse::<Algorithm>()
        .map_err(|_| Refusal::new(Code::AlgorithmRefused, "the token's alg is none or unknown"))?;
    match header.get("kid") {
        Some(Value::String(kid)) if !kid.is_empty() => Ok((algorithm, kid.clone())),
        _ => Err(malformed("the token has no kid")),
    }
}

/// `typ` of Zitadel's access tokens is JWT, of RFC 9068's `at+jwt`.
fn is_access_token_type(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
}

fn object(part: &str, name: &str) -> Result<Map<String, Value>, Refusal> {
    json::parse_object(&decode(part, name)?)
        .map_err(|_| malformed(format!("the token's {name} is not one JSON object")))
}

fn decode(part: &str, name: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| malformed(format!("the token's {name} is not canonical base64url")))
}

fn malformed(detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::TokenMalformed, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        let now = UnixTime::from_secs(1_000);
        Token::parse(&raw(&header(), &claims))
            .and_then(|token| token.check(&issuer(), Duration::from_secs(5), now))
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
            (json!({"alg": "rs256", "kid": "k"}), Code::AlgorithmRefused),
            (json!({"kid": "k"}), Code::TokenMalformed),
            (json!({"alg": 5, "kid": "k"}), Code::TokenMalformed),
            (json!({"alg": "RS256"}), Code::TokenMalformed),
            (json!({"alg": "RS256", "kid": ""}), Code::TokenMalformed),
            (json!({"alg": "RS256", "kid": "k", "crit": ["exp"]}), Code::TokenMalformed),
            (json!({"alg": "RS256", "kid": "k", "b64": false}), Code::TokenMalformed),
            (json!({"alg": "RS256", "kid": "k", "typ": "logout+jwt"}), Code::TokenMalformed),
            (json!({"alg": "RS256", "kid": "k", "typ": 1}), Code::TokenMalformed),
        ];
        for (header, code) in cases {
            assert_eq!(Token::parse(&raw(&header, &json!({}))).unwrap_err().code, code, "{header}");
        }
    }

    #[test]
    fn hmac_is_refused_even_where_a_key_would_fit() {
        let token = Token::parse(&raw(&json!({"alg": "HS256", "kid": "k"}), &json!({}))).unwrap();
        let refusal = token.check(&issuer(), Duration::ZERO, UnixTime::from_secs(0)).unwrap_err();
        assert_eq!(refusal.code, Code::AlgorithmRefused);
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
            (json!({"exp": 0}), Err(Code::TokenExpired)),
            (json!({"exp": 2_000, "nbf": 1_005, "iat": 1_005}), Ok(())),
            (json!({"exp": 2_000, "nbf": 1_006}), Err(Code::TokenNotYetValid)),
            (json!({"exp": 2_000, "iat": 1_006}), Err(Code::TokenNotYetValid)),
            (json!({}), Err(Code::TokenMalformed)),
            (json!({"exp": null}), Err(Code::TokenMalformed)),
            (json!({"exp": "2000"}), Err(Code::TokenMalformed)),
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
}
