//! A database on a PostgreSQL server: whether it is to be reached, this program knows it, and it
//! can be written to.

use tokio::task::spawn_blocking;

use super::{Line, database};
use crate::store::{NEWEST, PostgresServer, look_at_postgres};

/// Looks at the database on `server`, and says whether this program may use it.
pub(super) async fn look(server: PostgresServer) -> (Vec<Line>, bool) {
    let reach = |found: String| {
        let mend = "see KOMBI_EXCHANGE_DATABASE, its password, and whether that server runs";
        (vec![Line::fail("database", "server", found, mend)], false)
    };
    // Its connection works on a thread of its own.
    let looked = match spawn_blocking(move || look_at_postgres(server)).await {
        Ok(Ok(looked)) => looked,
        Ok(Err(error)) => return reach(error.to_string()),
        Err(_) => return reach("no answer".to_owned()),
    };
    let mut lines = vec![Line::ok("database", "server", format!("PostgreSQL {}", looked.server))];
    // Nothing is made, as nothing is in a directory that is empty.
    lines.push(database::schema(looked.version));
    lines.push(match looked.writable {
        Ok(()) => Line::ok("database", "writable", "a transaction was opened"),
        Err(error) => {
            let mend = "see who holds a transaction open (pg_stat_activity), and that it is no \
                        standby";
            Line::fail("database", "writable", error.to_string(), mend)
        }
    });
    (lines, looked.version == NEWEST)
}
