//! Lanes: how many calls to one instance may be under way. An instance that is stuck fills its
//! own lane and nobody else's.

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
    lanes: Mutex<HashMap<InstanceId, Arc<Semaphore>>>,
}

impl Lanes {
    /// Lanes that take `width` calls at once, each of which waits for `patience` to get in.
    #[must_use]
    pub fn new(width: usize, patience: Duration) -> Self {
        Self { width, patience, lanes: Mutex::default() }
    }

    /// Enters the lane of `instance`, until the permit is dropped; `None` if it stays full.
    pub async fn enter(&self, instance: &InstanceId) -> Option<OwnedSemaphorePermit> {
        let lane = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(self.width));
            Arc::clone(lanes.entry(instance.clone()).or_insert_with(new))
        };
        timeout(self.patience, lane.acquire_owned()).await.ok()?.ok()
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
}
