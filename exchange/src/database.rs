//! Where the exchange keeps what it must not forget: on this machine, or on a PostgreSQL server.

use std::path::PathBuf;

use crate::{
    data_dir::DataDir,
    server::StartError,
    store::{PostgresServer, Store},
};

/// A database that may not be there yet.
#[derive(Debug, Clone)]
pub enum Database {
    /// SQLite's, in this directory; for one exchange.
    Directory(PathBuf),
    /// PostgreSQL's; for any number.
    Server(Box<PostgresServer>),
}

impl Database {
    /// Opens it, making or migrating it as needed.
    pub fn open(&self) -> Result<Store, StartError> {
        match self {
            Self::Directory(path) => Ok(Store::open(&DataDir::open(path)?.database())?),
            Self::Server(server) => Ok(Store::connect(server)?),
        }
    }
}
