//! Connections to instances: only to addresses within their reach, checked after every name
//! lookup, so that a name cannot lead somewhere else the second time (DNS rebinding).

use std::{
    collections::HashMap,
    error::Error,
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{Arc, Mutex, PoisonError},
};

use reqwest::{
    Client, Response,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::address::Reach;

/// How many lookups of one name may be under way. A lookup cannot be cancelled and holds a
/// thread, so a name server that hangs must not collect all of them.
const LOOKUPS_PER_NAME: usize = 2;

/// Looks a name up and blocks while it does; the ports of the answer mean nothing.
pub type Lookup = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// Clients for instances; clones share them.
#[derive(Clone)]
pub struct Outbound {
    public: Client,
    private: Client,
}

/// No client could be made.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP client cannot be set up.
    #[error("HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

/// A name leads nowhere that it may lead.
#[derive(Debug, thiserror::Error)]
#[error("{name} leads to {found}, out of bounds here")]
pub struct OutOfBounds {
    name: String,
    found: String,
}

impl Outbound {
    /// Clients that find names by asking `lookup`.
    pub fn new(lookup: Lookup) -> Result<Self, OutboundError> {
        let tls = tls()?;
        Ok(Self {
            public: client(tls.clone(), Reach::Public, lookup)?,
            private: client(tls, Reach::Private, lookup)?,
        })
    }

    /// The client for an instance with this reach.
    #[must_use]
    pub const fn client(&self, reach: Reach) -> &Client {
        match reach {
            Reach::Public => &self.public,
            Reach::Private => &self.private,
        }
    }
}

/// Asks the operating system.
pub fn system_lookup(name: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((name, 0).to_socket_addrs()?.collect())
}

/// The machine's own roots: homelabs have private certificate authorities, and an operator who
/// trusts one adds it to the machine (or names a file in `SSL_CERT_FILE`).
pub(crate) fn tls() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    let (added, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        tracing::warn!("this machine has no root certificates: https instances cannot be reached");
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn client(tls: ClientConfig, reach: Reach, lookup: Lookup) -> Result<Client, OutboundError> {
    Ok(Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(Resolver { reach, lookup, turns: Mutex::default() })
        .user_agent(concat!("kombi-exchange/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        // Logins are rare and happen once: a connection that died while it idled would fail one.
        .pool_max_idle_per_host(0)
        .build()?)
}

struct Resolver {
    reach: Reach,
    lookup: Lookup,
    turns: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (reach, lookup) = (self.reach, self.lookup);
        let name = name.as_str().to_owned();
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(LOOKUPS_PER_NAME));
            Arc::clone(turns.entry(name.clone()).or_insert_with(new))
        };
        Box::pin(async move {
            let turn = turn.acquire_owned().await?;
            let (name, found) = spawn_blocking(move || {
                let found = lookup(&name);
                drop(turn);
                (name, found)
            })
            .await?;
            Ok(within(reach, name, found?)?)
        })
    }
}

fn within(reach: Reach, name: String, found: Vec<SocketAddr>) -> Result<Addrs, OutOfBounds> {
    let (inside, outside): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| reach.covers(address.ip()));
    if inside.is_empty() && !outside.is_empty() {
        let outside: Vec<_> = outside.iter().map(|address| address.ip().to_string()).collect();
        return Err(OutOfBounds { name, found: outside.join(", ") });
    }
    Ok(Box::new(inside.into_iter()))
}

/// The body of `response`; `None` if it is larger than `most` bytes.
pub async fn body(response: &mut Response, most: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len().saturating_add(chunk.len()) > most {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// Why a call did not end with an answer, each with the cause at the bottom of it.
#[derive(Debug)]
pub enum Failure {
    /// It was not made, because of [`OutOfBounds`].
    OutOfBounds(String),
    /// What came back is not HTTP.
    NotHttp(String),
    /// No connection, or it broke.
    Unreachable(String),
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        let cause = causes(&error).last().map(ToString::to_string).unwrap_or_default();
        let mut parsing = causes(&error).filter_map(|cause| cause.downcast_ref::<hyper::Error>());
        if causes(&error).any(<dyn Error>::is::<OutOfBounds>) {
            Self::OutOfBounds(cause)
        } else if parsing.any(hyper::Error::is_parse) {
            Self::NotHttp(cause)
        } else {
            Self::Unreachable(cause)
        }
    }
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let first: &(dyn Error + 'static) = error;
    std::iter::successors(Some(first), |cause| (*cause).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_addresses_only_those_within_reach_are_tried() {
        for (reach, found, tried) in [
            (Reach::Public, "1.1.1.1:0 127.0.0.1:0", Some("1.1.1.1:0")),
            (Reach::Private, "169.254.169.254:0 10.0.0.1:0", Some("10.0.0.1:0")),
            (Reach::Public, "10.0.0.1:0 [::1]:0", None),
            (Reach::Private, "0.0.0.0:0", None),
        ] {
            let found: Vec<_> = found.split(' ').map(|a| a.parse().unwrap()).collect();
            let inside = within(reach, "lab.example".to_owned(), found).ok();
            let inside: Option<Vec<_>> = inside.map(Iterator::collect);
            assert_eq!(inside, tried.map(|address| vec![address.parse().unwrap()]));
        }
    }
}
