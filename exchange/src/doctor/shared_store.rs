//! The store of limits that several nodes share.

use tokio::time::timeout;

use super::{Line, PATIENCE};

/// Whether the store at `url`, which is a secret, answers.
pub(super) async fn look(url: Option<&str>) -> Line {
    let (part, look) = ("store", "ping");
    let Some(url) = url else {
        let found = "none: limits that nodes share are kept by this exchange alone";
        return Line::ok(part, look, found);
    };
    let mend = "see that the Valkey or Redis of KOMBI_EXCHANGE_SHARED_STORE runs, and its password";
    let asked = async {
        let client = redis::Client::open(url)?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING").query_async::<String>(&mut connection).await
    };
    match timeout(PATIENCE, asked).await {
        Ok(Ok(_)) => Line::ok(part, look, "it answers"),
        // Its text could quote the address.
        Ok(Err(error)) => {
            let kind = if error.is_connection_refusal() || error.is_io_error() {
                "it cannot be reached"
            } else if error.is_timeout() {
                "no answer in time"
            } else {
                "it refuses us, or its address is no redis:// URL"
            };
            Line::fail(part, look, kind, mend)
        }
        Err(_) => Line::fail(part, look, "no answer in time", mend),
    }
}
