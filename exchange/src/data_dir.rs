//! The directory that holds everything the exchange must not forget.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made or written to.
    #[error(
        "KOMBI_EXCHANGE_DATA: expected a directory that can be written to, found {path} ({error})"
    )]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another process serves from it.
    #[error(
        "KOMBI_EXCHANGE_DATA: expected a directory of this exchange's own, found {0} in use by \
         another `kombi-exchange serve`"
    )]
    Taken(PathBuf),
}

/// The database's file in it.
pub const DATABASE: &str = "exchange.db";

/// What SQLite appends to a database's name for its write-ahead log.
pub(crate) const LOG: &str = "-wal";

/// What it appends for the index of that.
pub(crate) const LOG_INDEX: &str = "-shm";

/// The file beside `path` whose name is longer by `suffix`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// How many bytes are in the file at `path`; none if it is not there.
pub(crate) fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

/// How many bytes are free where `path` is.
pub(crate) fn free(path: &Path) -> io::Result<u64> {
    let disk = nix::sys::statvfs::statvfs(path)?;
    Ok(disk.blocks_available().saturating_mul(disk.fragment_size()))
}

/// The data directory.
#[derive(Debug, Clone)]
pub struct DataDir(PathBuf);

/// While this lives, no other process serves from the directory. The system releases it when the
/// process ends, however it ends.
#[derive(Debug)]
pub struct Claim(#[expect(dead_code, reason = "the lock is the open file")] File);

impl DataDir {
    /// The directory at `path`, made with access for its owner only if it is not there.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| DataDirError::Unusable { path: path.to_owned(), error })?;
        let data = Self(path.to_owned());
        // SQLite would make it readable for everybody; its other files follow this one.
        File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(data.database())
            .map_err(|error| DataDirError::Unusable { path: path.to_owned(), error })?;
        Ok(data)
    }

    /// The database's file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.0.join(DATABASE)
    }

    /// Claims the directory for serving.
    pub fn claim(&self) -> Result<Claim, DataDirError> {
        let unusable = |error| DataDirError::Unusable { path: self.0.clone(), error };
        let file = File::create(self.0.join("serve.lock")).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Claim(file)),
            Err(TryLockError::WouldBlock) => Err(DataDirError::Taken(self.0.clone())),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_is_claimed_once_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(&directory.path().join("deep/data")).unwrap();
        let claim = data.claim().unwrap();
        assert!(matches!(data.claim(), Err(DataDirError::Taken(_))));
        drop(claim);
        data.claim().unwrap();
    }

    #[test]
    fn the_database_is_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let database = DataDir::open(directory.path()).unwrap().database();
        assert_eq!(database.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_is_no_data_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataDir::open(file.path()).unwrap_err().to_string();
        assert!(error.starts_with("KOMBI_EXCHANGE_DATA: expected a directory"), "{error}");
    }
}
