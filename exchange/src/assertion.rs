//! Verifying the gate's assertion: see [`kombi_spec::assertion`].

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::HeaderMap;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    errors::ErrorKind,
    jwk::{Jwk, ThumbprintHash},
};
use kombi_spec::{
    assertion::{Assertion, EXCHANGE_AUDIENCE, ISSUER, LIFETIME_S, TYP},
    code::Code,
    header,
    introspection::SUBJECT,
};

use serde::de::DeserializeOwned;

use crate::{refusal::Refusal, time::UnixTime};

/// The longest `jti`; the gateway's request ids are 32 to 36 characters.
const MAX_JTI_BYTES: usize = 128;

/// The gate's public key, as it signs with it.
#[derive(Clone)]
pub struct GateKey {
    /// The thumbprint (RFC 7638), which assertions name as `kid`.
    id: String,
    key: DecodingKey,
}

/// This is not a public key.
#[derive(Debug, thiserror::Error)]
#[error("not 32 bytes in base64url without padding")]
pub struct NotAKey;

impl GateKey {
    /// Reads the public key `x` (RFC 8037 section 2): 32 bytes in base64url.
    pub fn parse(x: &str) -> Result<Self, NotAKey> {
        let bytes = URL_SAFE_NO_PAD.decode(x).map_err(|_| NotAKey)?;
        if bytes.len() != 32 {
            return Err(NotAKey);
        }
        let jwk = serde_json::json!({"kty": "OKP", "crv": "Ed25519", "x": x});
        let jwk: Jwk = serde_json::from_value(jwk).map_err(|_| NotAKey)?;
        let id = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| NotAKey)?;
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| NotAKey)?;
        Ok(Self { id, key })
    }

    /// The key's thumbprint.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

/// Verifies assertions.
#[derive(Clone)]
pub struct Verifier {
    keys: Vec<GateKey>,
    skew: Duration,
    validation: Validation,
}

impl Verifier {
    /// Accepts what any of `keys` signed, on clocks that differ by up to `skew`.
    #[must_use]
    pub fn new(keys: Vec<GateKey>, skew: Duration) -> Self {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[EXCHANGE_AUDIENCE]);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // Time is an argument here; jsonwebtoken would ask the machine.
        validation.validate_exp = false;
        Self { keys, skew, validation }
    }

    /// The claims of `jwt`, if the gate signed it for the request `method` `path` and it is
    /// neither stale nor early. Whether it was used before is for [`crate::spent`] to say.
    pub fn verify(
        &self,
        jwt: &str,
        method: &str,
        path: &str,
        now: UnixTime,
    ) -> Result<Assertion, Refusal> {
        let key = key_of(&self.keys, TYP, jwt)?;
        let claims: Assertion = jsonwebtoken::decode(jwt, key, &self.validation)
            .map_err(|error| invalid(reason(error.kind())))?
            .claims;
        if claims.htm.as_deref() != Some(method) {
            return Err(invalid("it is not bound to this request's method"));
        }
        if claims.htp.as_deref() != Some(path) {
            return Err(invalid("it is not bound to this request's path"));
        }
        if claims.jti.is_empty() || claims.jti.len() > MAX_JTI_BYTES {
            return Err(invalid("its jti is empty or too long"));
        }
        self.check_time(&claims, now)?;
        Ok(claims)
    }

    /// Until when an assertion with these claims could pass as valid.
    #[must_use]
    pub const fn valid_until(&self, claims: &Assertion) -> UnixTime {
        UnixTime::from_secs(claims.exp).plus(self.skew)
    }

    fn check_time(&self, claims: &Assertion, now: UnixTime) -> Result<(), Refusal> {
        // A longer life would outlive the memory of its jti.
        if claims.exp.saturating_sub(claims.iat) > LIFETIME_S {
            return Err(invalid("it lives longer than an assertion may"));
        }
        if UnixTime::from_secs(claims.iat) > now.plus(self.skew) {
            return Err(invalid("it was issued in the future"));
        }
        if now >= self.valid_until(claims) {
            return Err(Refusal::new(Code::AssertionExpired, "the assertion's exp has passed"));
        }
        Ok(())
    }
}

/// The key of `keys` that the protected header of `jwt` names, after everything else in that
/// header.
fn key_of<'a>(keys: &'a [GateKey], typ: &str, jwt: &str) -> Result<&'a DecodingKey, Refusal> {
    let header = jsonwebtoken::decode_header(jwt)
        .map_err(|_| invalid("it is not a well-formed JWT with a known algorithm"))?;
    if header.alg != Algorithm::EdDSA {
        return Err(invalid("it is not signed with EdDSA"));
    }
    if header.typ.as_deref() != Some(typ) {
        return Err(invalid("its typ is not that of an assertion"));
    }
    if header.crit.is_some() {
        return Err(invalid("its header demands an extension"));
    }
    let named = |key: &&GateKey| header.kid.as_deref() == Some(key.id());
    let key = keys.iter().find(named);
    key.map(|key| &key.key).ok_or_else(|| invalid("its kid is not a configured key"))
}

/// What the gate wrote and signed as `typ` with one of `keys`, whenever that was.
pub fn signed<T: DeserializeOwned>(keys: &[GateKey], typ: &str, jws: &str) -> Result<T, Refusal> {
    let key = key_of(keys, typ, jws)?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let decoded = jsonwebtoken::decode(jws, key, &validation);
    Ok(decoded.map_err(|error| invalid(reason(error.kind())))?.claims)
}

/// The one assertion that a request with these headers carries.
pub fn presented(headers: &HeaderMap) -> Result<&str, Refusal> {
    let invalid = |detail| Refusal::new(Code::AssertionInvalid, detail);
    let mut values = headers.get_all(header::ASSERTION).iter();
    match (values.next(), values.next()) {
        (None, _) => {
            let detail = format!("the request has no {}", header::ASSERTION);
            Err(Refusal::new(Code::AssertionMissing, detail))
        }
        (Some(one), None) => one.to_str().map_err(|_| invalid("the assertion is not ASCII")),
        (Some(_), Some(_)) => Err(invalid("the request has more than one assertion")),
    }
}

/// Refuses an assertion that the gate did not make for itself: users have assertions, too, should
/// a route ever lead to where the gate asks.
pub fn of_the_gate(assertion: &Assertion) -> Result<(), Refusal> {
    if assertion.sub == SUBJECT {
        return Ok(());
    }
    Err(invalid("only the gate itself asks here"))
}

fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::InvalidAudience => "its aud is not the exchange",
        ErrorKind::InvalidIssuer => "its iss is not the gate",
        _ => "its claims cannot be read",
    }
}

fn invalid(reason: &str) -> Refusal {
    Refusal::new(Code::AssertionInvalid, format!("the assertion is refused: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use jsonwebtoken::{EncodingKey, Header};
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use serde_json::{Value, json};

    const PATH: &str = "/sso/instances/a/session";
    const NOW: UnixTime = UnixTime::from_secs(1_000_000);

    fn public_of(seed: [u8; 32]) -> String {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        URL_SAFE_NO_PAD.encode(pair.public_key())
    }

    fn private_of(seed: [u8; 32]) -> EncodingKey {
        let prefix = URL_SAFE_NO_PAD.decode("MC4CAQAwBQYDK2VwBCIEIA").unwrap();
        EncodingKey::from_ed_der(&[prefix.as_slice(), &seed].concat())
    }

    fn verifier() -> Verifier {
        let keys = [[1; 32], [2; 32]].map(|seed| GateKey::parse(&public_of(seed)).unwrap());
        Verifier::new(keys.to_vec(), Duration::from_secs(5))
    }

    fn header(seed: [u8; 32]) -> Header {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYP.to_owned());
        header.kid = Some(GateKey::parse(&public_of(seed)).unwrap().id);
        header
    }

    fn claims(change: impl FnOnce(&mut Value)) -> Value {
        let mut claims = json!({
            "iss": ISSUER, "aud": EXCHANGE_AUDIENCE, "sub": "u1", "jti": "r1",
            "iat": NOW.as_secs(), "exp": NOW.as_secs() + LIFETIME_S,
            "htm": "POST", "htp": PATH,
        });
        change(&mut claims);
        claims
    }

    fn verify(jwt: &str) -> Result<Assertion, Refusal> {
        verifier().verify(jwt, "POST", PATH, NOW)
    }

    fn signed(change: impl FnOnce(&mut Value)) -> String {
        jsonwebtoken::encode(&header([1; 32]), &claims(change), &private_of([1; 32])).unwrap()
    }

    #[test]
    fn exactly_one_assertion_is_read() {
        let mut headers = HeaderMap::new();
        assert_eq!(presented(&headers).unwrap_err().code, Code::AssertionMissing);
        headers.append(kombi_spec::header::ASSERTION, HeaderValue::from_static("a"));
        assert_eq!(presented(&headers), Ok("a"));
        headers.append(kombi_spec::header::ASSERTION, HeaderValue::from_static("a"));
        assert_eq!(presented(&headers).unwrap_err().code, Code::AssertionInvalid);
    }

    /// The key pair of RFC 8037 appendix A, whose thumbprint the RFC gives.
    #[test]
    fn a_keys_id_is_its_thumbprint() {
        let key = GateKey::parse("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(key.id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        for bad in ["", "AAAA", "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "é"] {
            assert!(GateKey::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn either_key_may_sign_during_rotation_and_no_third() {
        for (seed, accepted) in [([1; 32], true), ([2; 32], true), ([3; 32], false)] {
            let jwt = jsonwebtoken::encode(&header(seed), &claims(|_| ()), &private_of(seed));
            assert_eq!(verify(&jwt.unwrap()).is_ok(), accepted, "{seed:?}");
        }
    }

    #[test]
    fn the_claims_must_be_exactly_right() {
        let later = NOW.as_secs() + 100;
        let cases: [(&str, Value, &str); 15] = [
            ("iss", json!("somebody"), "its iss"),
            ("iss", Value::Null, "claims cannot be read"),
            ("aud", json!("backend"), "its aud"),
            ("aud", json!(["kombi-exchange", "backend"]), "claims cannot be read"),
            ("sub", Value::Null, "claims cannot be read"),
            ("htm", json!("GET"), "method"),
            ("htm", json!("post"), "method"),
            ("htm", Value::Null, "method"),
            ("htp", json!("/sso/instances/b/session"), "path"),
            ("htp", json!("/sso/instances/a/session?x"), "path"),
            ("htp", Value::Null, "path"),
            ("jti", json!(""), "jti"),
            ("jti", json!("x".repeat(129)), "jti"),
            ("exp", json!(later), "lives longer"),
            ("iat", json!(NOW.as_secs() + 6), "in the future"),
        ];
        assert!(verify(&signed(|_| ())).is_ok());
        for (claim, value, found) in cases {
            let refusal = verify(&signed(|claims| claims[claim] = value.clone())).unwrap_err();
            assert_eq!(refusal.code, Code::AssertionInvalid, "{claim} {value}");
            assert!(refusal.detail.contains(found), "{claim} {value}: {}", refusal.detail);
        }
    }

    #[test]
    fn an_assertion_dies_at_exp_plus_skew() {
        for (age, alive) in [(0, true), (34, true), (35, false), (3600, false)] {
            let jwt = signed(|_| ());
            let now = NOW.plus(Duration::from_secs(age));
            match verifier().verify(&jwt, "POST", PATH, now) {
                Ok(_) => assert!(alive, "{age}"),
                Err(refusal) => {
                    assert!(!alive, "{age}: {}", refusal.detail);
                    assert_eq!(refusal.code, Code::AssertionExpired);
                }
            }
        }
    }

    #[test]
    fn the_header_must_be_exactly_right() {
        let sign = |change: fn(&mut Header)| {
            let mut header = header([1; 32]);
            change(&mut header);
            jsonwebtoken::encode(&header, &claims(|_| ()), &private_of([1; 32])).unwrap()
        };
        for (jwt, found) in [
            (sign(|header| header.typ = Some("JWT".to_owned())), "typ"),
            (sign(|header| header.typ = None), "typ"),
            (sign(|header| header.kid = None), "kid"),
            (sign(|header| header.kid = Some("other".to_owned())), "kid"),
            (sign(|header| header.crit = Some(vec!["b64".to_owned()])), "extension"),
        ] {
            let refusal = verify(&jwt).unwrap_err();
            assert_eq!(refusal.code, Code::AssertionInvalid);
            assert!(refusal.detail.contains(found), "{found}: {}", refusal.detail);
        }
    }

    #[test]
    fn no_other_algorithm_passes_and_no_other_signature() {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let kid = header([1; 32]).kid;
        let none = json!({"alg": "none", "typ": TYP, "kid": kid});
        let unsigned = format!("{}.{}.", encode(&none), encode(&claims(|_| ())));

        let mut hs256 = header([1; 32]);
        hs256.alg = Algorithm::HS256;
        let public = URL_SAFE_NO_PAD.decode(public_of([1; 32])).unwrap();
        let confused =
            jsonwebtoken::encode(&hs256, &claims(|_| ()), &EncodingKey::from_secret(&public));

        let stolen = jsonwebtoken::encode(&header([1; 32]), &claims(|_| ()), &private_of([3; 32]));
        let good = signed(|_| ());
        let (message, signature) = good.rsplit_once('.').unwrap();
        let tampered = format!("{message}x.{signature}");
        for jwt in [
            unsigned,
            confused.unwrap(),
            stolen.unwrap(),
            tampered,
            format!("{message}."),
            message.to_owned(),
            format!("{good}.x"),
            String::new(),
        ] {
            assert_eq!(verify(&jwt).unwrap_err().code, Code::AssertionInvalid, "{jwt}");
        }
    }
}
