//! `kombi-exchange backup` and `restore`.

use std::path::Path;

use crate::{
    audit::{Act, Action},
    backup,
    command::Failure,
    config,
    data_dir::DataDir,
    registry::Registry,
    server::StartError,
    store::Store,
    time::UnixTime,
};

/// Copies the database.
pub fn write(to: &Path, data: &Path) -> Result<(), Failure> {
    let bytes = backup::write(&DataDir::open(data)?.database(), to)?;
    println!("Copied the database to {}: {bytes} bytes.", to.display());
    Ok(())
}

/// Puts a copy in the place of the database, and that into the audit.
pub async fn restore(from: &Path, data: &Path) -> Result<(), Failure> {
    let seal = config::seal_from_environment()?;
    let data = DataDir::open(data)?;
    let kept = backup::restore(from, &data, UnixTime::now())?;
    let store = Store::open(&data.database()).map_err(StartError::from)?;
    let registry = Registry::open(store.clone(), seal).await?;
    let restored = Act::at_the_command_line().did(Action::Restored);
    let written = registry.audit().write(&store, restored.with(from.display().to_string())).await;
    written.map_err(StartError::from)?;
    println!("The database is that of {}.", from.display());
    if let Some(kept) = kept {
        println!("What was there before is {}.", kept.display());
    }
    Ok(())
}
