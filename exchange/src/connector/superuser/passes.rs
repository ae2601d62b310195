//! What is kept between logins: the superuser's token, and what PocketBase says of its users.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::api::{Pass, Users};
use crate::{access::Superuser, instance::InstanceId};

/// How long it is kept. A changed rule of the instance takes effect that much later at most.
const KEPT: Duration = Duration::from_secs(60);

/// What makes a login of somebody known two calls.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) pass: Pass,
    pub(super) users: Users,
    /// When it was learnt.
    pub(super) since: Instant,
}

/// By instance; only registered ones have any.
#[derive(Default)]
pub(super) struct Passes {
    kept: Mutex<HashMap<InstanceId, Kept>>,
}

struct Kept {
    superuser: Superuser,
    known: Known,
}

impl Passes {
    /// What is known of the instance `id`, if it was learnt as this superuser.
    pub(super) fn of(&self, id: &InstanceId, superuser: &Superuser) -> Option<Known> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get(id)?;
        let stands = kept.superuser == *superuser && kept.known.since.elapsed() < KEPT;
        stands.then(|| kept.known.clone())
    }

    /// Remembers what is known of the instance `id`, and returns it.
    pub(super) fn remember(&self, id: &InstanceId, superuser: &Superuser, known: Known) -> Known {
        let kept = Kept { superuser: superuser.clone(), known: known.clone() };
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), kept);
        known
    }
}
