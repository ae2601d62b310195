//! URLs in the configuration, taken apart for calls to them.

use http::Uri;

/// The URL of a peer, taken apart for calls to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    /// As it was configured.
    pub text: String,
    /// Whether the scheme is `https`.
    pub tls: bool,
    /// Where to connect to, as `host:port`.
    pub address: String,
    /// What `Host` says.
    pub authority: String,
    /// The path and query.
    pub path: String,
}

impl HttpUrl {
    /// Takes a URL apart. Without user information, query and fragment there is only one way to
    /// read it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("{text:?} is no URL: {error}"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(format!("expected an http or https URL, found {text:?}")),
        };
        let Some(authority) = uri.authority().filter(|a| !a.as_str().contains('@')) else {
            return Err(format!("expected a host and no user information in {text:?}"));
        };
        if text.contains('#') || authority.host().is_empty() {
            return Err(format!("expected a host and no fragment in {text:?}"));
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self {
            text: text.to_owned(),
            tls,
            address: format!("{}:{port}", authority.host()),
            authority: authority.as_str().to_owned(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }
}
