//! An instance: somebody's KombiStack, where it is and who may enter it.

use std::{collections::BTreeSet, fmt};

use url::Url;

use crate::{
    access::Access,
    address::{self, Reach},
    connector::Person,
    entrant::EntryRole,
};

/// A registered KombiStack.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its name in paths and logs.
    pub id: InstanceId,
    /// Where it is.
    pub url: InstanceUrl,
    /// Who owns it.
    pub owner: Subject,
    /// Who else may enter.
    pub members: BTreeSet<Subject>,
    /// And whoever has one of these.
    pub roles: BTreeSet<EntryRole>,
    /// Its own page, to which a login may be handed.
    pub page: Option<PageUrl>,
    /// How the exchange gets in.
    pub access: Access,
}

impl Instance {
    /// Whether `person` may enter. The registry alone says who may, never the request; which roles
    /// somebody has is the gate's word.
    #[must_use]
    pub fn admits(&self, person: &Person) -> bool {
        self.owner == person.subject
            || self.members.contains(&person.subject)
            || self.roles.iter().any(|role| role.is_among(&person.granted_by))
    }

    /// Whether a login may be handed to the page `redirect_uri`; compared to the letter.
    #[must_use]
    pub fn has_page(&self, redirect_uri: &str) -> bool {
        self.page.as_ref().is_some_and(|page| page.0.as_str() == redirect_uri)
    }
}

/// An instance's id: 1 to 63 of `a-z`, `0-9` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(String);

/// A person: the `sub` that Zitadel knows them by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(String);

/// Where an instance is, and how far that may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceUrl {
    url: Url,
    reach: Reach,
}

/// An instance's own page, where a login that is handed over ends: the `redirect_uri`, which is
/// compared to the letter (RFC 9700 section 2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageUrl(Url);

/// Something is not what its type demands: what was expected, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found {found}")]
pub struct Unfit {
    /// What was expected.
    pub expected: &'static str,
    /// What was found.
    pub found: String,
}

impl InstanceId {
    /// Reads an id.
    pub fn parse(text: &str) -> Result<Self, Unfit> {
        let fits = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if (1..=63).contains(&text.len()) && text.bytes().all(fits) {
            return Ok(Self(text.to_owned()));
        }
        Err(Unfit { expected: "1 to 63 of a-z, 0-9 and -", found: format!("{text:?}") })
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Subject {
    /// Reads a `sub`: 1 to 255 characters (OpenID Connect Core section 2), none of them control.
    pub fn parse(text: &str) -> Result<Self, Unfit> {
        if (1..=255).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
            return Ok(Self(text.to_owned()));
        }
        let expected = "1 to 255 characters, none of them control";
        Err(Unfit { expected, found: format!("{text:?}") })
    }

    /// The `sub` as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl InstanceUrl {
    /// Reads the base address of an instance. A literal IP address must be within `reach`; what
    /// a name resolves to is checked at every connection (see [`crate::outbound`]).
    pub fn parse(text: &str, reach: Reach) -> Result<Self, Unfit> {
        let unfit = |expected, found: String| Err(Unfit { expected, found });
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => return unfit("an http or https URL", format!("{text:?} ({error})")),
        };
        if !matches!(url.scheme(), "http" | "https") {
            return unfit("an http or https URL", format!("the scheme {:?}", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return unfit("a URL without user and password", "some".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return unfit("a URL without query and fragment", format!("{text:?}"));
        }
        match address::literal(&url).filter(|address| !reach.covers(*address)) {
            Some(address) => unfit(reach.expectation(), address.to_string()),
            None => Ok(Self { url, reach }),
        }
    }

    /// How far this instance may reach.
    #[must_use]
    pub const fn reach(&self) -> Reach {
        self.reach
    }

    /// The URL of `path` (which starts with `/`) below the instance's base.
    #[must_use]
    pub fn below(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}{path}"));
        url
    }
}

impl PageUrl {
    /// Reads a page's address. Without TLS a code could be read on its way by others, so only an
    /// instance that may be at a private address may do without.
    pub fn parse(text: &str, reach: Reach) -> Result<Self, Unfit> {
        let unfit = |expected, found: String| Err(Unfit { expected, found });
        let expected = "the URL of a page, https (or http with --allow-private)";
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => return unfit(expected, format!("{text:?} ({error})")),
        };
        match (url.scheme(), reach) {
            ("https", _) | ("http", Reach::Private) => {}
            (scheme, _) => return unfit(expected, format!("the scheme {scheme:?}")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return unfit("a URL without user and password", "some".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return unfit("a URL without query and fragment", format!("{text:?}"));
        }
        Ok(Self(url))
    }
}

impl Reach {
    const fn expectation(self) -> &'static str {
        match self {
            Self::Public => "a public address (or --allow-private)",
            Self::Private => "a public or private address",
        }
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for PageUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for InstanceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_tls_unless_the_instance_may_be_private() {
        let page = "https://lab.example/kombisphere/";
        assert_eq!(PageUrl::parse(page, Reach::Public).unwrap().to_string(), page);
        assert!(PageUrl::parse("http://192.168.1.2:8090/k/", Reach::Private).is_ok());
        for bad in [
            "http://lab.example/",
            "javascript:alert(1)",
            "https://user@lab.example/",
            "https://lab.example/?a",
            "https://lab.example/#a",
            "/kombisphere/",
            "",
        ] {
            assert!(PageUrl::parse(bad, Reach::Public).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_is_what_the_gateways_route_lets_through() {
        for good in ["a", "my-homelab-1", "0", &"x".repeat(63)] {
            assert!(InstanceId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "a_b", "a/b", "a.b", "ä", "a%62", &"x".repeat(64)] {
            assert!(InstanceId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_url_that_could_mean_something_else_is_refused() {
        for (text, found) in [
            ("homelab", "relative URL"),
            ("ftp://lab.example", "the scheme \"ftp\""),
            ("file:///etc/passwd", "the scheme \"file\""),
            ("https://user@lab.example", "some"),
            ("https://:secret@lab.example", "some"),
            ("https://lab.example/?a=b", "?a=b"),
            ("https://lab.example/#x", "#x"),
        ] {
            let error = InstanceUrl::parse(text, Reach::Private).unwrap_err();
            assert!(error.found.contains(found), "{text}: {error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_literal_address_is_seen_through_every_spelling() {
        for text in [
            "http://127.0.0.1:8090",
            "http://0x7f.1",
            "http://2130706433",
            "http://0177.0.0.1",
            "http://127.1",
            "http://[::1]:8090",
            "http://[::ffff:7f00:1]",
            "http://192.168.1.5",
        ] {
            assert!(InstanceUrl::parse(text, Reach::Public).is_err(), "{text}");
            assert!(InstanceUrl::parse(text, Reach::Private).is_ok(), "{text}");
        }
        for text in ["http://169.254.169.254", "http://0.0.0.0", "http://[fe80::1]"] {
            assert!(InstanceUrl::parse(text, Reach::Private).is_err(), "{text}");
        }
    }

    #[test]
    fn the_hook_is_below_the_base_path() {
        for (base, hook) in [
            ("https://lab.example", "https://lab.example/api/x"),
            ("https://lab.example/", "https://lab.example/api/x"),
            ("https://lab.example/pb/", "https://lab.example/pb/api/x"),
        ] {
            let url = InstanceUrl::parse(base, Reach::Public).unwrap();
            assert_eq!(url.below("/api/x").as_str(), hook);
        }
    }
}
