//! What is asked of both.

use kombi_spec::usage::settle::{EndReason, UsageSource};
use proptest::{prelude::*, sample::Index};

use crate::trespass::model::{Entrant, Lab, Who, entrant, lab, who};

/// One thing that is asked.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Register(Lab, Who),
    Remove(Lab),
    Admit(Lab, Entrant),
    Dismiss(Lab, Entrant),
    LogIn(Who, Lab),
    /// With an assertion that was used.
    LogInAgain(Index),
    Begin(Who, Lab),
    /// A code that was given out; with the right verifier or not.
    Redeem(Index, bool),
    Link(Lab, Who),
    Unlink(Lab, Who),
    SetFlags(Lab, Who, u64),
    /// `end-sessions`, `block` or `unblock`.
    Person(Who, &'static str),
    Reserve(Attempt, u64),
    /// In one request.
    Settle(Vec<(Attempt, UsageSource, EndReason, u64)>),
    /// What somebody has used.
    Report(Who),
}

/// A call of a model, as it is known to the ledger.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) id: String,
    pub(super) attempt: u32,
    pub(super) who: Who,
    pub(super) plan: &'static str,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..60)
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    let deed = proptest::sample::select(&["end-sessions", "block", "unblock", "unblock"][..]);
    prop_oneof![
        3 => (lab(), who()).prop_map(|(lab, who)| Step::Register(lab, who)),
        1 => lab().prop_map(Step::Remove),
        3 => (lab(), entrant()).prop_map(|(lab, entrant)| Step::Admit(lab, entrant)),
        2 => (lab(), entrant()).prop_map(|(lab, entrant)| Step::Dismiss(lab, entrant)),
        6 => (who(), lab()).prop_map(|(who, lab)| Step::LogIn(who, lab)),
        2 => index().prop_map(Step::LogInAgain),
        4 => (who(), lab()).prop_map(|(who, lab)| Step::Begin(who, lab)),
        4 => (index(), proptest::bool::weighted(0.8)).prop_map(|(nth, ok)| Step::Redeem(nth, ok)),
        2 => (lab(), who()).prop_map(|(lab, who)| Step::Link(lab, who)),
        2 => (lab(), who()).prop_map(|(lab, who)| Step::Unlink(lab, who)),
        3 => (lab(), who(), 0..5_u64).prop_map(|(lab, who, v)| Step::SetFlags(lab, who, v)),
        2 => (who(), deed).prop_map(|(who, deed)| Step::Person(who, deed)),
        8 => (attempt(), 0..2_000_u64).prop_map(|(attempt, input)| Step::Reserve(attempt, input)),
        6 => proptest::collection::vec(settlement(), 1..4).prop_map(Step::Settle),
        1 => who().prop_map(Step::Report),
    ]
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let plan = proptest::sample::select(&["free", "metered", "ten", "rich", "few", "unknown"][..]);
    (0..6_u32, 1..3_u32, who(), plan).prop_map(|(id, attempt, who, plan)| Attempt {
        id: format!("r{id}"),
        attempt,
        who,
        plan,
    })
}

fn settlement() -> impl Strategy<Value = (Attempt, UsageSource, EndReason, u64)> {
    let end = proptest::sample::select(
        &[
            (UsageSource::EstimatedAbort, EndReason::ClientLeft),
            (UsageSource::EstimatedMissing, EndReason::Completed),
            (UsageSource::Provider, EndReason::Completed),
            (UsageSource::Provider, EndReason::ProviderError),
            (UsageSource::Provider, EndReason::NotSent),
            (UsageSource::Reaper, EndReason::Expired),
        ][..],
    );
    (attempt(), end, 0..1_000_u64)
        .prop_map(|(attempt, (source, end), output)| (attempt, source, end, output))
}
