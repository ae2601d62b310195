//! Signing the assertion that upstreams trust: see [`kombi_spec::assertion`].

mod key;
mod reuse;

use kombi_spec::assertion::{Assertion, ISSUER, LIFETIME_S};

use crate::{identity::Identity, request::Head, time::UnixTime};
pub(crate) use key::SigningKey;
pub use key::SigningKeyError;
pub(crate) use reuse::Reuse;

/// Signs assertions in users' names for one upstream.
#[derive(Clone)]
pub struct Signer {
    key: SigningKey,
    audience: String,
    /// Where an assertion is good for any request, those that may be sent again.
    unbound: Option<Reuse>,
}

impl Signer {
    /// A signer with the Ed25519 private key `seed` (32 bytes, base64url). If `bound`, each
    /// assertion is good for one method and path.
    pub fn new(seed: &str, audience: String, bound: bool) -> Result<Self, SigningKeyError> {
        let unbound = (!bound).then(Reuse::default);
        Ok(Self { key: SigningKey::new(seed)?, audience, unbound })
    }

    /// The assertion that `identity` makes the request `head`; `None` only if the library fails
    /// on a key that it accepted before. One that is bound to no request may be sent again, with
    /// the `jti` of the request that it was made for.
    #[must_use]
    pub fn sign(&self, identity: &Identity, head: &Head, now: UnixTime) -> Option<String> {
        let bound_to = |part: &str| self.unbound.is_none().then(|| part.to_owned());
        let claims = Assertion {
            iss: ISSUER.to_owned(),
            aud: self.audience.clone(),
            sub: identity.subject.clone(),
            iat: now.as_secs(),
            exp: now.as_secs().saturating_add(LIFETIME_S),
            jti: head.request_id().to_owned(),
            htm: bound_to(head.method()),
            htp: bound_to(&head.path()),
            org: identity.organisation.clone(),
            roles: identity.roles.names().map(str::to_owned).collect(),
            granted_by: identity.roles.by_organisation(),
            email: identity.email.clone(),
            email_verified: identity.email_verified,
            name: identity.name.clone(),
        };
        match &self.unbound {
            None => self.key.sign(&claims),
            Some(reuse) => reuse.or_sign(&claims, now, |claims| self.key.sign(claims)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        request::Fields,
        roles::{Grants, RoleSource},
    };
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    use kombi_spec::assertion::{GrantedBy, TYP};

    /// The key pair of RFC 8037 appendix A.
    const SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const THUMBPRINT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

    fn identity() -> Identity {
        Identity {
            issuer: "https://id.example".to_owned(),
            subject: "27345".to_owned(),
            roles: ["user".to_owned()].into_iter().collect(),
            email: Some("ada@example.com".to_owned()),
            email_verified: true,
            ..Identity::default()
        }
    }

    fn head() -> Head {
        let path = "/sso/instances/a/session?x=y";
        let fields = Fields::new(&[(":method", "POST"), (":path", path)]);
        Head::read(fields, Some("r1".to_owned())).unwrap()
    }

    fn assertion(bound: bool) -> Assertion {
        let signer = Signer::new(SEED, "kombi-exchange".to_owned(), bound).unwrap();
        let jwt = signer.sign(&identity(), &head(), UnixTime::from_millis(1_999)).unwrap();
        let header = jsonwebtoken::decode_header(&jwt).unwrap();
        assert_eq!(header.kid.as_deref(), Some(THUMBPRINT));
        assert_eq!(header.typ.as_deref(), Some(TYP));
        claims_of(&jwt)
    }

    fn claims_of(jwt: &str) -> Assertion {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.validate_exp = false;
        validation.set_audience(&["kombi-exchange"]);
        let key = DecodingKey::from_ed_components(PUBLIC).unwrap();
        jsonwebtoken::decode(jwt, &key, &validation).unwrap().claims
    }

    #[test]
    fn a_bound_assertion_names_its_request() {
        let claims = assertion(true);
        assert_eq!(claims.htm.as_deref(), Some("POST"));
        assert_eq!(claims.htp.as_deref(), Some("/sso/instances/a/session"));
        assert_eq!((claims.iat, claims.exp), (1, 31));
        assert_eq!(claims.jti, "r1");
        assert_eq!(claims.sub, "27345");
        assert!(claims.email_verified);
    }

    #[test]
    fn an_assertion_says_who_granted_which_role() {
        let (prefix, suffix) = ("urn:zitadel:iam:org:project:", "roles");
        let claims = serde_json::json!({
            format!("{prefix}{suffix}"): {"user": {"1": "a.example", "2": "b.example"}, "x": {}},
        });
        let source = RoleSource::Zitadel { project: None };
        let roles = Grants::read(claims.as_object().unwrap(), &source);
        let signed = |roles: Grants| {
            let signer = Signer::new(SEED, "kombi-exchange".to_owned(), true).unwrap();
            let identity = Identity { roles, ..identity() };
            let jwt = signer.sign(&identity, &head(), UnixTime::from_millis(1_999)).unwrap();
            claims_of(&jwt)
        };
        let by: GrantedBy = [("user".to_owned(), ["1".to_owned(), "2".to_owned()].into())].into();
        assert_eq!((signed(roles).granted_by), by);
        // A plain list of roles does not tell.
        let plain = signed(["user".to_owned()].into_iter().collect());
        assert_eq!((plain.roles, plain.granted_by), (vec!["user".to_owned()], GrantedBy::new()));
    }

    #[test]
    fn an_unbound_assertion_does_not() {
        let claims = assertion(false);
        assert_eq!((claims.htm, claims.htp), (None, None));
    }

    #[test]
    fn only_an_unbound_assertion_is_sent_again() {
        for (bound, again) in [(true, false), (false, true)] {
            let signer = Signer::new(SEED, "upstream".to_owned(), bound).unwrap();
            let sign = |s| signer.sign(&identity(), &head(), UnixTime::from_secs(s)).unwrap();
            assert_eq!(sign(100) == sign(101), again);
        }
    }

    #[test]
    fn only_a_32_byte_seed_is_a_signing_key() {
        for seed in ["", "AAAA", "not base64", &format!("{SEED}=")] {
            assert!(Signer::new(seed, String::new(), true).is_err(), "{seed}");
        }
    }
}
