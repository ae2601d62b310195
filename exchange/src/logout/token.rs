//! A logout token, checked step by step as section 2.6 of OpenID Connect Back-Channel Logout 1.0
//! wants it. The optional steps are taken, too, but for the one that needs session ids.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::Jwk};
use kombi_spec::code::Code;
use serde_json::{Map, Value};

use super::LogoutIssuer;
use crate::{instance::Subject, refusal::Refusal, time::UnixTime};

/// The member of `events` that makes a token a logout token (section 2.4).
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Signatures by a key that only the issuer has.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The longest life of a logout token: for so long its `jti` is remembered. The specification
/// recommends two minutes.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest `jti`, in bytes.
const MAX_JTI_BYTES: usize = 255;

/// A token of which only the header was looked at.
pub(super) struct Unverified {
    jwt: String,
    algorithm: Algorithm,
    kid: String,
}

/// The claims of a token that the issuer signed.
pub(super) struct Verified(Map<String, Value>);

/// A logout token that holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LogoutToken {
    pub(super) subject: Subject,
    pub(super) jti: String,
    pub(super) exp: UnixTime,
}

impl Unverified {
    pub(super) fn read(jwt: &str) -> Result<Self, Refusal> {
        let header = jsonwebtoken::decode_header(jwt)
            .map_err(|_| invalid("it is not a signed JWT with a known algorithm"))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(invalid("its algorithm is not accepted"));
        }
        // What tells it apart from an ID token is checked in the claims; issuers that say
        // nothing, or JWT, are common.
        let typ = header.typ.map(|typ| typ.to_ascii_lowercase());
        match typ.as_deref().map(|typ| typ.strip_prefix("application/").unwrap_or(typ)) {
            None | Some("jwt" | "logout+jwt") => {}
            Some(_) => return Err(invalid("its typ is not that of a logout token")),
        }
        if header.crit.is_some() {
            return Err(invalid("its header demands an extension"));
        }
        let kid = header.kid.ok_or_else(|| invalid("its header names no key"))?;
        Ok(Self { jwt: jwt.to_owned(), algorithm: header.alg, kid })
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// The claims, if `key` signed them.
    pub(super) fn verify(&self, key: &Jwk) -> Result<Verified, Refusal> {
        let is_for = key.common.key_algorithm.map(|algorithm| algorithm.to_string());
        if is_for.is_some_and(|name| name != format!("{:?}", self.algorithm)) {
            return Err(invalid("its algorithm is not that of its key"));
        }
        let key = DecodingKey::from_jwk(key).map_err(|_| invalid("its key cannot be used"))?;
        let mut validation = Validation::new(self.algorithm);
        // All of them are checked below, against a time that is an argument.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        jsonwebtoken::decode(&self.jwt, &key, &validation)
            .map(|decoded| Verified(decoded.claims))
            .map_err(|_| invalid("its signature is wrong, or its claims cannot be read"))
    }
}

impl LogoutToken {
    /// Reads the claims of a token by `issuer`, at the time `now`.
    pub(super) fn read(
        Verified(claims): &Verified,
        issuer: &LogoutIssuer,
        now: UnixTime,
        skew: Duration,
    ) -> Result<Self, Refusal> {
        let text = |name| claims.get(name).and_then(Value::as_str);
        if text("iss") != Some(issuer.name()) {
            return Err(invalid("its iss is another"));
        }
        let ours = |audience: &Value| audience.as_str().is_some_and(|one| issuer.is_ours(one));
        let for_us = match claims.get("aud") {
            Some(Value::Array(all)) => all.iter().any(ours),
            Some(one) => ours(one),
            None => false,
        };
        if !for_us {
            return Err(invalid("its aud is none of ours"));
        }
        let time = |name| claims.get(name).and_then(Value::as_u64).map(UnixTime::from_secs);
        let iat = time("iat").ok_or_else(|| invalid("its iat is no time"))?;
        let exp = time("exp").ok_or_else(|| invalid("its exp is no time"))?;
        if iat > now.plus(skew) {
            return Err(invalid("it was issued in the future"));
        }
        if now >= exp.plus(skew) {
            return Err(invalid("its exp has passed"));
        }
        if exp > now.plus(LONGEST_LIFE) {
            return Err(invalid("it lives longer than a logout token may"));
        }
        let event = claims.get("events").and_then(|events| events.get(EVENT));
        if !event.is_some_and(Value::is_object) {
            return Err(invalid("it has no event of a logout"));
        }
        // An ID token has one; it must never pass for a logout token.
        if claims.contains_key("nonce") {
            return Err(invalid("it has a nonce"));
        }
        let jti = text("jti").filter(|jti| (1..=MAX_JTI_BYTES).contains(&jti.len()));
        let jti = jti.ok_or_else(|| invalid("its jti is missing, empty or too long"))?;
        let subject = match (text("sub"), claims.contains_key("sid")) {
            (Some(sub), _) => Subject::parse(sub).ok(),
            (None, true) => {
                return Err(invalid("it has a sid alone, by which nobody is known here"));
            }
            (None, false) => None,
        };
        let subject = subject.ok_or_else(|| invalid("its sub is missing or not a person's id"))?;
        Ok(Self { subject, jti: jti.to_owned(), exp })
    }
}

pub(super) fn invalid(reason: &str) -> Refusal {
    Refusal::new(Code::LogoutTokenInvalid, format!("the logout token is refused: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    use crate::address::Reach;

    const NOW: UnixTime = UnixTime::from_secs(1_000_000);

    fn issuer() -> LogoutIssuer {
        LogoutIssuer::new("https://id.example", Reach::Public, ["portal", "other"]).unwrap()
    }

    fn read(change: impl FnOnce(&mut Map<String, Value>)) -> Result<LogoutToken, Refusal> {
        let claims = json!({
            "iss": "https://id.example", "aud": ["somebody", "portal"], "sub": "27", "jti": "j1",
            "iat": NOW.as_secs(), "exp": NOW.as_secs() + 120, "sid": "s1",
            "events": {EVENT: {}},
        });
        let mut claims = claims.as_object().unwrap().clone();
        change(&mut claims);
        LogoutToken::read(&Verified(claims), &issuer(), NOW, Duration::from_secs(5))
    }

    fn with(name: &str, value: Value) -> Result<LogoutToken, Refusal> {
        read(|claims| {
            if value.is_null() {
                claims.remove(name);
            } else {
                claims.insert(name.to_owned(), value);
            }
        })
    }

    #[test]
    fn a_logout_token_names_a_person() {
        let token = read(|_| ()).unwrap();
        assert_eq!((token.subject.as_str(), &*token.jti), ("27", "j1"));
        let now = NOW.as_secs();
        for (name, value) in [
            ("aud", json!("portal")),
            ("aud", json!(["other"])),
            ("sid", json!(null)),
            ("iat", json!(now + 5)),
            ("exp", json!(now - 4)),
            ("exp", json!(now + 86_400)),
            ("events", json!({EVENT: {}, "another": 1})),
            ("more", json!(1)),
        ] {
            assert!(with(name, value.clone()).is_ok(), "{name} {value}");
        }
    }

    #[test]
    fn every_claim_must_be_what_the_specification_says() {
        let now = NOW.as_secs();
        for (name, value, found) in [
            ("iss", json!("https://id.example/"), "its iss"),
            ("iss", json!(null), "its iss"),
            ("aud", json!("somebody"), "its aud"),
            ("aud", json!([]), "its aud"),
            ("aud", json!(null), "its aud"),
            ("iat", json!(null), "its iat"),
            ("iat", json!("1000000"), "its iat"),
            ("iat", json!(now + 6), "in the future"),
            ("exp", json!(null), "its exp is no time"),
            ("exp", json!(now - 5), "its exp has passed"),
            ("exp", json!(now + 86_401), "lives longer"),
            ("events", json!(null), "no event"),
            ("events", json!({}), "no event"),
            ("events", json!([EVENT]), "no event"),
            ("events", json!({EVENT: true}), "no event"),
            ("nonce", json!(""), "a nonce"),
            ("jti", json!(null), "its jti"),
            ("jti", json!(""), "its jti"),
            ("jti", json!("x".repeat(256)), "its jti"),
            ("sub", json!(""), "its sub"),
            ("sub", json!(27), "a sid alone"),
            ("sub", json!(null), "a sid alone"),
        ] {
            let refusal = with(name, value.clone()).unwrap_err();
            assert_eq!(refusal.code, Code::LogoutTokenInvalid);
            assert!(refusal.detail.contains(found), "{name} {value}: {}", refusal.detail);
        }
        let nobody = read(|claims| claims.retain(|name, _| name != "sub" && name != "sid"));
        assert!(nobody.unwrap_err().detail.contains("its sub"));
        // A null is a nonce, too.
        assert!(read(|claims| drop(claims.insert("nonce".to_owned(), Value::Null))).is_err());
    }

    #[test]
    fn the_header_must_be_that_of_a_signed_logout_token() {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        let jwt =
            |header: Value| format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header.to_string()));
        for (header, fits) in [
            (json!({"alg": "RS256", "kid": "k"}), true),
            (json!({"alg": "ES256", "kid": "k", "typ": "logout+jwt"}), true),
            (json!({"alg": "EdDSA", "kid": "k", "typ": "application/Logout+JWT"}), true),
            (json!({"alg": "PS256", "kid": "k", "typ": "JWT"}), true),
            (json!({"alg": "RS256", "kid": "k", "typ": "at+jwt"}), false),
            (json!({"alg": "HS256", "kid": "k"}), false),
            (json!({"alg": "none", "kid": "k"}), false),
            (json!({"alg": "RS256"}), false),
            (json!({"alg": "RS256", "kid": "k", "crit": ["b64"]}), false),
            (json!({"alg": "RSA-OAEP", "enc": "A256GCM", "kid": "k"}), false),
        ] {
            assert_eq!(Unverified::read(&jwt(header.clone())).is_ok(), fits, "{header}");
        }
        for jwt in ["", "a", "a.b.c", "a.b.c.d.e"] {
            assert!(Unverified::read(jwt).is_err(), "{jwt}");
        }
    }
}
