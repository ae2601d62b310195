//! Who a verified token speaks of, and the headers that tell the upstream.

use std::fmt::Write;

use kombi_spec::header;

use crate::{config::Issuer, refusal::Refusal, roles::Grants, step::SetHeader, token::Claims};

/// Zitadel's claim with the organisation that owns the user.
const ORGANISATION_CLAIM: &str = "urn:zitadel:iam:user:resourceowner:id";

/// A person or machine whose token was verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The issuer that vouches.
    pub issuer: String,
    /// The user's id at that issuer.
    pub subject: String,
    /// The organisation that owns the user.
    pub organisation: Option<String>,
    /// The application that asked for the token.
    pub client: Option<String>,
    /// The roles granted.
    pub roles: Grants,
    /// The plan booked, if the token tells one.
    pub plan: Option<String>,
    /// Whether somebody else acts for the user (`act`, RFC 8693 section 4.1).
    pub delegated: bool,
    /// The e-mail address, if the token carries it.
    pub email: Option<String>,
    /// Whether the issuer verified that address.
    pub email_verified: bool,
    /// The display name, if the token carries it.
    pub name: Option<String>,
}

impl Identity {
    /// Reads the identity from claims; the caller has verified that they are `issuer`'s.
    pub fn of_verified(claims: &Claims, issuer: &Issuer) -> Result<Self, Refusal> {
        let text = |name| claims.string(name).map(|found| found.map(str::to_owned));
        let roles = Grants::read(claims, &issuer.roles);
        Ok(Self {
            issuer: issuer.url.text.clone(),
            subject: claims.subject()?.to_owned(),
            organisation: text(ORGANISATION_CLAIM)?,
            // RFC 9068 section 2.2, and what OpenID Connect calls it.
            client: text("client_id")?.map_or_else(|| text("azp"), |client| Ok(Some(client)))?,
            plan: issuer.plan.as_ref().and_then(|source| source.plan(claims, &roles)),
            roles,
            delegated: claims.get("act").is_some_and(|actor| !actor.is_null()),
            email: text("email")?,
            email_verified: claims.get("email_verified").is_some_and(|v| v == true),
            name: text("name")?,
        })
    }

    /// The plain identity headers.
    #[must_use]
    pub fn headers(&self) -> Vec<SetHeader> {
        let roles: Vec<String> = self.roles.names().map(encode).collect();
        let mut headers = vec![
            SetHeader { name: header::SUBJECT, value: encode(&self.subject) },
            SetHeader { name: header::ISSUER, value: encode(&self.issuer) },
            SetHeader { name: header::ROLES, value: roles.join(",") },
        ];
        if let Some(organisation) = &self.organisation {
            headers.push(SetHeader { name: header::ORGANISATION, value: encode(organisation) });
        }
        if let Some(plan) = &self.plan {
            headers.push(SetHeader { name: header::PLAN, value: encode(plan) });
        }
        headers
    }
}

/// Percent-encodes (RFC 3986 section 2.1) all but what is harmless in a header and in a list, so
/// that no claim can add a header or an entry.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/@+".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            issuer: "https://id.example".to_owned(),
            subject: "27345".to_owned(),
            organisation: Some("1".to_owned()),
            roles: ["user".to_owned(), "admin:tools".to_owned()].into_iter().collect(),
            plan: Some("pro".to_owned()),
            ..Identity::default()
        }
    }

    fn header(identity: &Identity, name: &str) -> Option<String> {
        identity.headers().into_iter().find(|h| h.name == name).map(|h| h.value)
    }

    #[test]
    fn the_upstream_is_told_who_calls() {
        let identity = identity();
        assert_eq!(header(&identity, "x-kombi-sub").as_deref(), Some("27345"));
        assert_eq!(header(&identity, "x-kombi-org").as_deref(), Some("1"));
        assert_eq!(header(&identity, "x-kombi-roles").as_deref(), Some("admin:tools,user"));
        assert_eq!(header(&identity, "x-kombi-plan").as_deref(), Some("pro"));
        assert_eq!(header(&identity, "x-kombi-issuer").as_deref(), Some("https://id.example"));
    }

    #[test]
    fn no_claim_can_add_a_header_or_a_list_entry() {
        let identity = Identity {
            subject: "a\r\nx-kombi-roles: admin".to_owned(),
            roles: ["a,admin".to_owned(), "grün%2C".to_owned()].into_iter().collect(),
            organisation: None,
            plan: Some("pro, ultra".to_owned()),
            ..identity()
        };
        assert_eq!(
            header(&identity, "x-kombi-sub").as_deref(),
            Some("a%0D%0Ax-kombi-roles:%20admin")
        );
        assert_eq!(header(&identity, "x-kombi-roles").as_deref(), Some("a%2Cadmin,gr%C3%BCn%252C"));
        assert_eq!(header(&identity, "x-kombi-plan").as_deref(), Some("pro%2C%20ultra"));
        assert_eq!(header(&identity, "x-kombi-org"), None);
    }
}
