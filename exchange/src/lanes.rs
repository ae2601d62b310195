//! Lanes: how many calls to one instance may be under way, and as many may wait. An instance that
//! is stuck fills its own lane and nobody else's, and a crowd before it does not fill the exchange.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::instance::InstanceId;

/// One lane per instance. Only registered instances get one, so there is no end of them.
pub struct Lanes {
    width: usize,
    patience: Duration,
    lanes: Mutex<HashMap<InstanceId, Lane>>,
}

/// The lane of one instance.
#[derive(Clone)]
struct Lane {
    /// Room for those who wait or are under way.
    room: Arc<Semaphore>,
    /// Room for those who are under way.
    way: Arc<Semaphore>,
}

/// Somebody is under way in a lane, until this is dropped.
pub struct Entered {
    _room: OwnedSemaphorePermit,
    _way: OwnedSemaphorePermit,
}

impl Lanes {
    /// Lanes that take `width` calls at once, each of which waits for `patience` to get in.
    #[must_use]
    pub fn new(width: usize, patience: Duration) -> Self {
        Self { width, patience, lanes: Mutex::default() }
    }

    /// Enters the lane of `instance`; `None` if it stays full, or if too many wait for it already.
    pub async fn enter(&self, instance: &InstanceId) -> Option<Entered> {
        let Lane { room, way } = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Lane {
                room: Arc::new(Semaphore::new(self.width * 2)),
                way: Arc::new(Semaphore::new(self.width)),
            };
            lanes.entry(instance.clone()).or_insert_with(new).clone()
        };
        let _room = room.try_acquire_owned().ok()?;
        let _way = timeout(self.patience, way.acquire_owned()).await.ok()?.ok()?;
        Some(Entered { _room, _way })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_lane_keeps_its_own_out_and_no_others() {
        let lanes = Lanes::new(1, Duration::from_millis(10));
        let (a, b) = (InstanceId::parse("a").unwrap(), InstanceId::parse("b").unwrap());
        let held = lanes.enter(&a).await.unwrap();
        assert!(lanes.enter(&a).await.is_none());
        assert!(lanes.enter(&b).await.is_some());
        drop(held);
        assert!(lanes.enter(&a).await.is_some());
    }

    #[tokio::test]
    async fn as_many_wait_as_are_under_way_and_whoever_else_comes_is_sent_away_at_once() {
        let lanes = Lanes::new(1, Duration::from_secs(60));
        let a = InstanceId::parse("a").unwrap();
        let held = lanes.enter(&a).await.unwrap();
        let waits = lanes.enter(&a);
        let is_sent_away = async {
            assert!(lanes.enter(&a).await.is_none());
            drop(held);
        };
        let (entered, ()) = tokio::join!(biased; waits, is_sent_away);
        assert!(entered.is_some());
    }
}
