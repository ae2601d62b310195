//! What all routes of one worker share: the instance's memory outlives every request.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
};

use kombi_gate_core::{
    time::UnixTime,
    worker::{Moment, Worker},
};

use crate::{host, log, meter, request::State};

thread_local! {
    static WORKER: RefCell<Worker> = RefCell::new(Worker::with_chance(host::chance()));
    /// Requests that the tick resumes.
    static WAITING: RefCell<Vec<Weak<RefCell<State>>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` on what the worker knows now.
pub(crate) fn with_moment<T>(f: impl FnOnce(&mut Moment<'_>) -> T) -> T {
    with_moment_at(host::now(), f)
}

/// Runs `f` on what the worker knows `now`. `f` calls the host for nothing but the zone, which
/// never calls back, so it cannot come here again.
pub(crate) fn with_moment_at<T>(now: UnixTime, f: impl FnOnce(&mut Moment<'_>) -> T) -> T {
    let zone = host::zone();
    WORKER.with_borrow_mut(|worker| f(&mut Moment { worker, zone, now }))
}

/// Lets the tick resume the request.
pub(crate) fn wait_for_tick(request: &Rc<RefCell<State>>) {
    WAITING.with_borrow_mut(|waiting| waiting.push(Rc::downgrade(request)));
}

/// The requests that wait for the tick, to be resumed now.
pub(crate) fn take_waiting() -> Vec<Rc<RefCell<State>>> {
    let waiting = WAITING.with_borrow_mut(std::mem::take);
    waiting.iter().filter_map(Weak::upgrade).collect()
}

/// Publishes what happened in this worker since the last time.
pub(crate) fn publish() {
    let (keys, tokens, verdicts, leases, limits, models, ages) = with_moment(|moment| {
        let Worker { keys, tokens, verdicts, leases, limits, outbox, .. } = &mut *moment.worker;
        let ages: Vec<_> =
            keys.ages(moment.now).map(|(issuer, age)| (issuer.to_owned(), age)).collect();
        let (verdicts, leases) = (verdicts.take_counts(), leases.take_counts());
        let (limits, models) = (limits.tally.take(), outbox.take_tally());
        (keys.take_counts(), tokens.take_counts(), verdicts, leases, limits, models, ages)
    });
    meter::keys(keys);
    meter::tokens(tokens);
    meter::verdicts(verdicts);
    meter::leases(leases);
    meter::limits(&limits);
    meter::models(&models);
    if models.dropped > 0 {
        log::usage_dropped(models.dropped);
    }
    for trouble in limits.news {
        log::limit_trouble(trouble);
    }
    for (issuer, age) in ages {
        meter::age_of_keys(&issuer, age);
    }
}
