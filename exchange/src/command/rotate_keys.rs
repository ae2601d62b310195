//! `kombi-exchange rotate-keys`.

use crate::{
    audit::Act,
    command::Failure,
    config::{self, NEW_SEAL_KEY, SEAL_KEY},
    data_dir::DataDir,
    database::Database,
    registry::{Resealed, reseal},
    time::UnixTime,
};

/// Seals everything in the database with another key, while nobody serves: whoever did would go on
/// with the one that it was started with.
pub async fn run(database: &Database) -> Result<(), Failure> {
    let seals = config::seals_from_environment()?;
    let _claim = match database {
        Database::Directory(path) => Some(DataDir::open(path)?.claim()?),
        // Where several may serve, their connections tell.
        Database::Server(_) => None,
    };
    let store = database.open()?;
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
