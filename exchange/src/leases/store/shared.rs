//! Quotas in Valkey or Redis, for several exchanges.

use std::time::Duration;

use redis::{
    Client, FromRedisValue, RedisError, Script, ScriptInvocation,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::time::timeout;

use super::{Change, Memory, Ms, Pending, Reading, Store, StoreError, Written};
use crate::random;

/// What a call may take in all, waiting for a connection included.
const PATIENCE: Duration = Duration::from_millis(500);

/// The longest pause between two attempts to connect.
const RECONNECT: Duration = Duration::from_millis(250);

/// Every name begins with it.
const PREFIX: &str = "kombi:lease:";

/// Where the memory's own name is kept.
const MEMORY: &str = "kombi:leases:memory";

/// Reads cells and the time; names the memory if it is empty.
const READ: &str = "
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local memory = redis.call('GET', KEYS[1])
if not memory then
  memory = ARGV[1] .. '@' .. now
  redis.call('SET', KEYS[1], memory)
end
local cells = {}
for i = 2, #KEYS do cells[i - 1] = redis.call('GET', KEYS[i]) end
return {memory, now, cells}";

/// Writes every cell that is as it was. An empty text stands for a cell that is not there.
const WRITE: &str = "
local made = {}
for i, name in ipairs(KEYS) do
  local before, after, keep = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
  if (redis.call('GET', name) or '') == before then
    redis.call('SET', name, after, 'PX', keep)
    made[i] = 1
  else
    made[i] = 0
  end
end
return made";

/// Notes that an earlier memory was lost, if this is still the one.
const FORGOT: &str = "
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[1], ARGV[2]) end
return 1";

/// The address is not one of a store. It may hold a password, so it is not quoted.
#[derive(Debug, thiserror::Error)]
#[error("not a redis:// URL")]
pub struct AddressRefused;

/// A store that several exchanges share. It connects when it is asked, and anew after a failure.
pub struct Shared {
    connection: ConnectionManager,
    read: Script,
    write: Script,
    forgot: Script,
}

impl Shared {
    /// The store at `url`. To be called on the runtime that will use it.
    pub fn new(url: &str) -> Result<Self, AddressRefused> {
        let client = Client::open(url).map_err(|_| AddressRefused)?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE))
            .set_min_delay(RECONNECT / 10)
            .set_max_delay(RECONNECT);
        let connection = ConnectionManager::new_lazy_with_config(client, config);
        Ok(Self {
            connection: connection.map_err(|_| AddressRefused)?,
            read: Script::new(READ),
            write: Script::new(WRITE),
            forgot: Script::new(FORGOT),
        })
    }

    async fn call<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        let mut connection = self.connection.clone();
        let called = timeout(PATIENCE, call.invoke_async(&mut connection)).await;
        called.map_err(|_| StoreError::Late)?.map_err(StoreError::from)
    }
}

impl Store for Shared {
    fn read<'a>(&'a self, names: &'a [String]) -> Pending<'a, Reading> {
        let mut call = self.read.prepare_invoke();
        call.key(MEMORY).arg(random::request_id());
        for name in names {
            call.key(format!("{PREFIX}{name}"));
        }
        Box::pin(async move {
            let (memory, now, cells): (String, String, Vec<Option<Vec<u8>>>) =
                self.call(&call).await?;
            let now = now.parse().map_err(|_| StoreError::Failed("no time".to_owned()))?;
            Ok(Reading { now, memory: named(&memory), cells })
        })
    }

    fn write<'a>(&'a self, changes: &'a [Change]) -> Pending<'a, Vec<Written>> {
        let mut call = self.write.prepare_invoke();
        for change in changes {
            let keep_ms = u64::try_from(change.keep_for.as_millis()).unwrap_or(u64::MAX);
            call.key(format!("{PREFIX}{}", change.name))
                .arg(change.before.as_deref().unwrap_or_default())
                .arg(change.after.as_slice())
                // Its clock ends before ours.
                .arg(keep_ms.min(u64::from(u32::MAX) * 1_000));
        }
        Box::pin(async move {
            let made: Vec<bool> = self.call(&call).await?;
            let written = |made| if made { Written::Made } else { Written::Outdated };
            Ok(made.into_iter().map(written).collect())
        })
    }

    fn forgot<'a>(&'a self, memory: &'a Memory, now: Ms) -> Pending<'a, ()> {
        let noted = Memory { lost_at: Some(memory.lost_at.unwrap_or(now)), ..memory.clone() };
        let mut call = self.forgot.prepare_invoke();
        call.key(MEMORY).arg(text(memory)).arg(text(&noted));
        Box::pin(async move { self.call::<u8>(&call).await.map(drop) })
    }
}

/// A memory as it is kept: its name, when it began, and when another was found to be lost.
fn text(Memory { id, born_at, lost_at }: &Memory) -> String {
    match lost_at {
        Some(lost_at) => format!("{id}@{born_at}@{lost_at}"),
        None => format!("{id}@{born_at}"),
    }
}

fn named(text: &str) -> Memory {
    let mut parts = text.split('@');
    let id = parts.next().unwrap_or_default().to_owned();
    let mut time = || parts.next().and_then(|time| time.parse().ok());
    Memory { id, born_at: time().unwrap_or(0), lost_at: time() }
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() { Self::Late } else { Self::Failed(error.to_string()) }
    }
}
