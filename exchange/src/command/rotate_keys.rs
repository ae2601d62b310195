//! `kombi-exchange rotate-keys`.

use std::path::Path;

use crate::{
    audit::Act,
    command::Failure,
    config::{self, NEW_SEAL_KEY, SEAL_KEY},
    data_dir::DataDir,
    registry::{Resealed, reseal},
    server::StartError,
    store::Store,
    time::UnixTime,
};

/// Seals everything in the database with another key, while nobody serves: whoever did would go on
/// with the one that it was started with.
pub async fn run(data: &Path) -> Result<(), Failure> {
    let seals = config::seals_from_environment()?;
    let data = DataDir::open(data)?;
    let _claim = data.claim()?;
    let store = Store::open(&data.database()).map_err(StartError::from)?;
    match reseal(&store, seals, &Act::at_the_command_line(), UnixTime::now()).await? {
        Resealed::Anew(instances) => {
            println!(
                "What opens {instances} instances, and the audit's key, is sealed with \
                 {NEW_SEAL_KEY}. From now on, that is {SEAL_KEY}."
            );
        }
        Resealed::Before => println!(
            "Everything is sealed with {NEW_SEAL_KEY} already, and nothing was changed. From now \
             on, that is {SEAL_KEY}."
        ),
    }
    Ok(())
}
