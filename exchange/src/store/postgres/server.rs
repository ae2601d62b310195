//! Where a PostgreSQL is, and whether what goes there is encrypted.

use std::{fmt, net::IpAddr, time::Duration};

use tokio_postgres::{
    Client, Config, NoTls,
    config::{Host, SslMode},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

use super::StoreError;
use crate::{
    address::{Zone, zone},
    outbound,
};

/// How long it may take to be connected, a lookup and TLS included.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// How long what was sent may go without the other side's confirmation.
const UNCONFIRMED: Duration = Duration::from_secs(10);

/// A PostgreSQL server, and the database there.
#[derive(Clone)]
pub struct PostgresServer {
    config: Config,
    encryption: Encryption,
}

/// Whether what is sent is encrypted. If it is, the server must prove that it is the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encryption {
    /// `sslmode=disable`: not.
    Never,
    /// `sslmode=require` or `verify-full`.
    Always,
    /// Neither: on the way to addresses that are not private.
    Abroad,
}

/// This is not the URL of a PostgreSQL. It may have a password in it, so it is not quoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{found}")]
pub struct NotPostgres {
    /// What is wrong with it.
    pub found: &'static str,
}

impl PostgresServer {
    /// Reads `postgres://user:password@host:port/database?sslmode=…`.
    pub fn parse(text: &str) -> Result<Self, NotPostgres> {
        let wrong = |found| Err(NotPostgres { found });
        let Ok(url) = Url::parse(text) else { return wrong("something that is no URL") };
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return wrong("another scheme");
        }
        let mut encryption = Encryption::Abroad;
        for (name, value) in url.query_pairs() {
            encryption = match (&*name, &*value) {
                ("sslmode", "disable") => Encryption::Never,
                ("sslmode", "require" | "verify-full") => Encryption::Always,
                ("sslmode", _) => return wrong("an sslmode that is unknown, or promises nothing"),
                _ => return wrong("a parameter other than sslmode"),
            };
        }
        let bare = text.split(['?', '#']).next().unwrap_or_default();
        let Ok(mut config) = bare.parse::<Config>() else {
            return wrong("a URL that PostgreSQL does not know");
        };
        if config.get_user().is_none() || config.get_dbname().is_none_or(str::is_empty) {
            return wrong("a URL without a user or a database");
        }
        if config.get_hosts().len() != 1 || config.get_ports().len() > 1 {
            return wrong("a URL without a host, or with several");
        }
        config
            .application_name("kombi-exchange")
            .connect_timeout(CONNECT)
            .tcp_user_timeout(UNCONFIRMED)
            .keepalives_idle(UNCONFIRMED);
        Ok(Self { config, encryption })
    }

    /// Whether there is a password in it.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }

    /// The same server, with this password.
    #[must_use]
    pub fn with_password(mut self, password: &str) -> Self {
        self.config.password(password);
        self
    }

    /// Connects. What keeps the connection going runs on the runtime that this is called on.
    pub(super) async fn connect(&self) -> Result<Client, StoreError> {
        let Some(Host::Tcp(host)) = self.config.get_hosts().first() else {
            return self.connect_to(None).await;
        };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        let unknown = |error| StoreError::NotConnected(format!("no address of {host}: {error}"));
        let mut last = StoreError::NotConnected(format!("no address of {host}"));
        for address in tokio::net::lookup_host((&**host, port)).await.map_err(unknown)? {
            match self.connect_to(Some(address.ip())).await {
                Ok(client) => return Ok(client),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_to(&self, address: Option<IpAddr>) -> Result<Client, StoreError> {
        let mut config = self.config.clone();
        // The address that was judged is the one that is connected to.
        if let Some(address) = address {
            config.hostaddr(address);
        }
        if !self.encrypts(address) {
            let (client, connection) = config.ssl_mode(SslMode::Disable).connect(NoTls).await?;
            tokio::spawn(async move { drop(connection.await) });
            return Ok(client);
        }
        let no_tls = |error| StoreError::NotConnected(format!("{error}"));
        let tls = MakeRustlsConnect::new(outbound::tls().map_err(no_tls)?);
        let (client, connection) = config.ssl_mode(SslMode::Require).connect(tls).await?;
        tokio::spawn(async move { drop(connection.await) });
        Ok(client)
    }

    /// Whether what goes to `address`, or else to a socket of this machine, is encrypted.
    fn encrypts(&self, address: Option<IpAddr>) -> bool {
        let Some(address) = address else { return false };
        match self.encryption {
            Encryption::Never => false,
            Encryption::Always => true,
            Encryption::Abroad => zone(address) != Zone::Private,
        }
    }
}

impl fmt::Debug for PostgresServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresServer")
            .field("hosts", &self.config.get_hosts())
            .field("database", &self.config.get_dbname())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_one_host_with_a_user_and_a_database() {
        for (url, found) in [
            ("postgres://kombi:c2Vj@db:5432/kombi", ""),
            ("postgresql://kombi@127.0.0.1/kombi?sslmode=require", ""),
            ("postgres://kombi@%2Frun%2Fpostgresql/kombi", ""),
            ("kombi", "something that is no URL"),
            ("mysql://kombi:c2Vj@db/kombi", "another scheme"),
            ("postgres://db/kombi", "a URL without a user or a database"),
            ("postgres://kombi:c2Vj@db", "a URL without a user or a database"),
            ("postgres://kombi:c2Vj@a,b/kombi", "a URL without a host, or with several"),
            (
                "postgres://kombi:c2Vj@db/kombi?sslmode=prefer",
                "an sslmode that is unknown, or promises nothing",
            ),
            ("postgres://kombi:c2Vj@db/kombi?schema=public", "a parameter other than sslmode"),
        ] {
            match PostgresServer::parse(url) {
                Ok(server) => {
                    assert_eq!(found, "", "{url}");
                    assert!(!format!("{server:?}").contains("c2Vj"), "{server:?}");
                }
                Err(error) => assert_eq!(error.to_string(), found, "{url}"),
            }
        }
    }

    #[test]
    fn nothing_goes_abroad_in_plain_unless_that_is_said() {
        for (mode, private, public) in [
            ("", false, true),
            ("?sslmode=require", true, true),
            ("?sslmode=verify-full", true, true),
            ("?sslmode=disable", false, false),
        ] {
            let server = PostgresServer::parse(&format!("postgres://u@h/d{mode}")).unwrap();
            for (address, encrypted) in
                [("10.0.0.5", private), ("::1", private), ("1.1.1.1", public)]
            {
                assert_eq!(server.encrypts(address.parse().ok()), encrypted, "{mode} {address}");
            }
            assert!(!server.encrypts(None), "{mode}: a socket of this machine");
        }
    }
}
