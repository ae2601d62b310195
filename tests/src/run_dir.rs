//! Where one run of the stack keeps its data, configuration and logs.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};

use crate::artifacts;

/// A private directory, removed when the run ends well.
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// A fresh directory.
    pub fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = artifacts::target().join("run").join(name);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file that only this user can read: rendered configuration contains keys.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(content.as_ref()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The last lines of every log, for the person who must find out what went wrong.
    #[must_use]
    pub fn logs(&self) -> String {
        self.log_files().iter().map(|path| tail(path)).collect()
    }

    /// Every log so far.
    #[must_use]
    pub fn log_files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = [self.path.clone(), self.path.join("kong/logs")]
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        files.sort();
        files
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // What cannot be removed lies below target/ and harms nobody.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// The last lines of a log, under its name.
fn tail(log: &Path) -> String {
    const LINES: usize = 40;
    let content = fs::read(log).unwrap_or_default();
    let content = String::from_utf8_lossy(&content);
    let lines: Vec<&str> = content.lines().collect();
    let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    format!("--- {name}\n{}\n", last.join("\n"))
}
