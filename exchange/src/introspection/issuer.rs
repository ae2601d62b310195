//! An issuer as the operator configured it: where it is, and as whom it is asked.

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::header::HeaderValue;
use url::{Url, form_urlencoded};

use crate::address::{self, Reach};

/// Where the metadata lies below the issuer (OpenID Connect Discovery 1.0 section 4.1).
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// An issuer, as the operator configured it.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Its own name for itself, to the letter.
    pub(super) name: String,
    /// Where it describes itself.
    pub(super) metadata: Url,
    /// Where it is asked, if the operator says so.
    pub(super) endpoint: Option<Url>,
    /// How far its addresses may reach.
    pub(super) reach: Reach,
    /// Who asks. Marked as sensitive, so that nothing prints it.
    pub(super) authorization: HeaderValue,
}

/// This address is not to be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressUnfit(pub(super) String);

impl Issuer {
    /// The issuer called `name`, which is where its metadata is found. Without TLS its client's
    /// secret would be for everybody to read, so http is for private networks only.
    pub fn new(
        name: &str,
        reach: Reach,
        client_id: &str,
        client_secret: &str,
    ) -> Result<Self, AddressUnfit> {
        let metadata = metadata_of(name, reach)?;
        let authorization = basic(client_id, client_secret);
        Ok(Self { name: name.to_owned(), metadata, endpoint: None, reach, authorization })
    }

    /// The same issuer, asked at `endpoint` whatever its metadata says.
    pub fn asked_at(mut self, endpoint: &str) -> Result<Self, AddressUnfit> {
        self.endpoint = Some(callable(endpoint, self.reach)?);
        Ok(self)
    }
}

/// Where the issuer called `name` describes itself.
pub(crate) fn metadata_of(name: &str, reach: Reach) -> Result<Url, AddressUnfit> {
    let mut metadata = callable(name, reach)?;
    if metadata.query().is_some() {
        return Err(AddressUnfit("a query".to_owned()));
    }
    let below = metadata.path().trim_end_matches('/').to_owned();
    metadata.set_path(&format!("{below}{DISCOVERY_PATH}"));
    Ok(metadata)
}

/// `text` as an address that may be called. What a name resolves to is checked at every
/// connection (see [`crate::outbound`]).
pub(crate) fn callable(text: &str, reach: Reach) -> Result<Url, AddressUnfit> {
    let unfit = |found: String| Err(AddressUnfit(found));
    // It is not quoted: what is no URL may still have a password in it.
    let Ok(url) = Url::parse(text) else { return unfit("something that is no URL".to_owned()) };
    match (url.scheme(), reach) {
        ("https", _) | ("http", Reach::Private) => {}
        (scheme, _) => return unfit(format!("the scheme {scheme}")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return unfit("user or password".to_owned());
    }
    if url.fragment().is_some() {
        return unfit("a fragment".to_owned());
    }
    let outside = |literal: &IpAddr| !reach.covers(*literal);
    match address::literal(&url).filter(outside) {
        Some(literal) => unfit(literal.to_string()),
        None => Ok(url),
    }
}

/// `client_secret_basic`: both parts are form-encoded first (RFC 6749 section 2.3.1).
fn basic(id: &str, secret: &str) -> HeaderValue {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret)));
    // Base64 is always fit for a header.
    let mut header = HeaderValue::try_from(format!("Basic {pair}"))
        .unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    header.set_sensitive(true);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(name: &str, reach: Reach) -> Result<Issuer, AddressUnfit> {
        Issuer::new(name, reach, "id", "SECRET")
    }

    #[test]
    fn an_issuer_is_an_https_address_within_reach() {
        for (name, public, private) in [
            ("https://id.example", true, true),
            ("https://id.example/", true, true),
            ("https://id.example/realms/a", true, true),
            ("https://1.1.1.1", true, true),
            ("http://id.example", false, true),
            ("https://10.0.0.1", false, true),
            ("http://127.0.0.1:8080", false, true),
            ("https://[::1]", false, true),
            ("https://169.254.169.254", false, false),
            ("https://user:SECRET@id.example", false, false),
            ("https://id.example?a", false, false),
            ("https://id.example#a", false, false),
            ("ftp://id.example", false, false),
            ("https://user:SECRET@[", false, false),
            ("id.example", false, false),
            ("", false, false),
        ] {
            for (reach, fits) in [(Reach::Public, public), (Reach::Private, private)] {
                let read = issuer(name, reach);
                assert_eq!(read.is_ok(), fits, "{name} {reach:?}");
                assert!(!format!("{read:?}").contains("SECRET"), "{read:?}");
            }
        }
    }

    #[test]
    fn its_metadata_lies_below_its_path() {
        for (name, metadata) in [
            ("https://id.example", "https://id.example/.well-known/openid-configuration"),
            ("https://id.example/a/", "https://id.example/a/.well-known/openid-configuration"),
        ] {
            assert_eq!(issuer(name, Reach::Public).unwrap().metadata.as_str(), metadata);
        }
    }

    /// The encoded form is that of RFC 6749 appendix B, the pair that of its section 2.3.1.
    #[test]
    fn the_clients_credentials_are_form_encoded_before_they_are_joined() {
        for (id, secret, pair) in [
            ("s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw", "s6BhdRkqt3:7Fjfp0ZBr1KtDRbnfVdmIw"),
            ("a:b", " %&+£€", "a%3Ab:+%25%26%2B%C2%A3%E2%82%AC"),
        ] {
            let header = basic(id, secret);
            assert!(header.is_sensitive());
            assert_eq!(header, format!("Basic {}", STANDARD.encode(pair)));
        }
        assert_eq!(
            basic("s6BhdRkqt3", "7Fjfp0ZBr1KtDRbnfVdmIw"),
            "Basic czZCaGRSa3F0Mzo3RmpmcDBaQnIxS3REUmJuZlZkbUl3"
        );
    }
}
