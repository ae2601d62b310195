//! Where the exchange keeps what it must not forget.

use std::{env, ffi::OsString, path::PathBuf};

use super::{ConfigError, DATA};
use crate::{database::Database, store::PostgresServer};

/// The PostgreSQL, if it is not the data directory.
pub const DATABASE: &str = "KOMBI_EXCHANGE_DATABASE";
/// The password there.
pub const DATABASE_PASSWORD: &str = "KOMBI_EXCHANGE_DATABASE_PASSWORD";

/// What may be known of a PostgreSQL.
#[derive(Default)]
struct Said {
    /// By a flag, which everybody on this machine can see.
    flag: Option<String>,
    environment: Option<String>,
    password: Option<String>,
}

/// The database of `--database` and `--data`, and of the environment. Where there is a PostgreSQL,
/// there is no data directory.
pub fn database(flag: Option<String>, data: Option<OsString>) -> Result<Database, ConfigError> {
    known_database(flag, data)?.ok_or_else(|| ConfigError {
        variable: DATA,
        expected: "a directory (or --data)",
        found: "nothing".to_owned(),
    })
}

/// The same, if anybody named one.
pub fn known_database(
    flag: Option<String>,
    data: Option<OsString>,
) -> Result<Option<Database>, ConfigError> {
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let environment = variable(DATABASE);
    let said = Said { flag, environment, password: variable(DATABASE_PASSWORD) };
    if let Some(server) = server(said)? {
        return Ok(Some(Database::Server(Box::new(server))));
    }
    let directory = data.filter(|path| !path.is_empty()).map(PathBuf::from);
    Ok(directory.map(Database::Directory))
}

/// The data directory, for what works on its files.
pub fn data_directory(database: Database) -> Result<PathBuf, ConfigError> {
    match database {
        Database::Directory(path) => Ok(path),
        Database::Server(_) => Err(ConfigError {
            variable: DATABASE,
            expected: "nothing here, because a PostgreSQL is copied with pg_dump and restored with \
                       pg_restore",
            found: "one".to_owned(),
        }),
    }
}

fn server(said: Said) -> Result<Option<PostgresServer>, ConfigError> {
    let wrong = |found: &str| ConfigError {
        variable: DATABASE,
        expected: "postgres://USER@HOST/DATABASE, if anything, with sslmode=require, verify-full or \
                   disable, and a password nowhere but in the environment and there once",
        found: found.to_owned(),
    };
    let (url, may_have_password) = match (said.flag, said.environment) {
        (Some(flag), _) => (flag, false),
        (None, Some(url)) => (url, said.password.is_none()),
        (None, None) => return Ok(None),
    };
    let server = PostgresServer::parse(&url).map_err(|error| wrong(error.found))?;
    if server.has_password() && !may_have_password {
        return Err(wrong("a password in another place"));
    }
    Ok(Some(match said.password {
        Some(password) => server.with_password(&password),
        None => server,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_comes_from_one_place_in_the_environment_and_is_never_quoted() {
        let plain = || Some("postgres://kombi@db/kombi".to_owned());
        let with_password = || Some("postgres://kombi:c2Vj@db/kombi".to_owned());
        let password = || Some("c2Vj".to_owned());
        for (said, found) in [
            (Said::default(), Ok(None)),
            (Said { password: password(), ..Said::default() }, Ok(None)),
            (Said { flag: plain(), ..Said::default() }, Ok(Some(false))),
            (Said { flag: plain(), password: password(), ..Said::default() }, Ok(Some(true))),
            (Said { environment: with_password(), ..Said::default() }, Ok(Some(true))),
            (
                Said { flag: plain(), environment: with_password(), ..Said::default() },
                Ok(Some(false)),
            ),
            (Said { flag: with_password(), ..Said::default() }, Err("a password in another place")),
            (
                Said { environment: with_password(), password: password(), ..Said::default() },
                Err("a password in another place"),
            ),
            (
                Said { flag: Some("c2Vj".to_owned()), ..Said::default() },
                Err("something that is no URL"),
            ),
        ] {
            let server = server(said).map_err(|error| {
                assert!(!error.to_string().contains("c2Vj"), "{error}");
                error.found
            });
            let has_password = server.map(|server| server.map(|server| server.has_password()));
            assert_eq!(has_password, found.map_err(str::to_owned));
        }
    }
}
