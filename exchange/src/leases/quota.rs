//! One quota, and who holds how much of it: see [`kombi_spec::lease`]. Time is an argument.

use std::collections::BTreeMap;

use kombi_spec::lease::{Holding, Share};
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970, by the clock of the store.
pub type Ms = u64;

/// Most nodes that one quota is shared by. Of more, the one that was heard of longest ago is
/// forgotten.
const MOST_NODES: usize = 64;

/// If no node reported about a quota for longer, the exchange or its store was away, and the
/// leases live that much longer. A node that uses a quota reports several times a second.
const SILENCE_MS: Ms = 2_000;

/// A memory that is younger may have had one before it that nodes know of, and will tell of: they
/// report several times a second. Until then nothing is leased.
const HEARING_MS: Ms = 1_000;

/// A node that is not heard of any more is held to have gone on for this long as it said it
/// would before it died: a few ticks.
const UNREPORTED_MS: u64 = 1_000;

/// What is known of a quota. Its bucket holds `available` units, and `rest` of the next one.
///
/// Whatever is reported, in whatever order, `available` and what is leased together never exceed
/// the burst, and grow by nothing but the refill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    available: i64,
    /// In units times milliseconds of the period.
    rest: u64,
    as_of: Ms,
    /// When it was said what the bucket was rebuilt from, after the store lost its memory.
    rebuilt_from: Ms,
    /// Units taken without having been leased, since this quota was untouched.
    charged: u64,
    leases: BTreeMap<String, Lease>,
}

/// What one node holds. Out of the bucket are `granted - released`; the rest is as in [`Holding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Lease {
    lease: u64,
    seq: u64,
    granted: u64,
    used: u64,
    released: u64,
    wanted: u64,
    until: Ms,
}

/// When a report arrives, and in what state of the store.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The time.
    pub now: Ms,
    /// When the store's memory began.
    pub born_at: Ms,
    /// When the store was found to have lost an earlier memory, if it has.
    pub lost_at: Option<Ms>,
    /// Whether the node knows the memory that the store has now.
    pub known: bool,
}

impl Moment {
    /// Until when nothing new is leased.
    fn held_until(&self, holding: &Holding) -> Ms {
        let heard = self.born_at.saturating_add(HEARING_MS);
        self.lost_at.map_or(heard, |at| at.saturating_add(holding.ttl_ms).max(heard))
    }
}

impl Quota {
    /// A quota that nobody has used.
    #[must_use]
    pub fn untouched(holding: &Holding, now: Ms) -> Self {
        Self {
            available: signed(holding.burst),
            rest: 0,
            as_of: now,
            rebuilt_from: 0,
            charged: 0,
            leases: BTreeMap::new(),
        }
    }

    /// Takes a node's report, and says what the node may spend.
    pub fn report(&mut self, node: &str, holding: &Holding, moment: Moment) -> Share {
        self.advance(holding, moment.now);
        let before = self.leases.get(node).copied();
        let (mut lease, stale) = match before {
            Some(lease) if lease.lease == holding.lease => (lease, holding.seq <= lease.seq),
            // Of a lease that the node has forgotten.
            Some(lease) if lease.lease > holding.lease => {
                return share(&lease, holding, self, 0, 0);
            }
            Some(forgotten) => {
                self.leases.remove(node);
                self.take_back(forgotten, holding);
                (self.adopt(holding, moment), false)
            }
            None => (self.adopt(holding, moment), false),
        };
        // Of a store that has lost its memory, others may hold what is not known yet.
        let held_until = moment.held_until(holding);
        if !stale {
            self.settle(&mut lease, holding);
            lease.seq = holding.seq;
            lease.wanted = holding.wanted;
            lease.until = moment.now.saturating_add(holding.ttl_ms);
        }
        let keep = self.fair(node, &lease);
        if !stale && moment.now >= held_until {
            // Half of what there is: whoever comes next finds some, too.
            let most = u64::try_from(self.available).unwrap_or(0).div_ceil(2);
            let more = keep.saturating_sub(lease.unused()).min(most);
            lease.granted += more;
            self.available -= signed(more);
        }
        self.make_room(node, holding);
        self.leases.insert(node.to_owned(), lease);
        let refilled_in = self.refilled_in(holding);
        let retry_after = refilled_in.max(held_until.saturating_sub(moment.now));
        share(&lease, holding, self, keep, retry_after)
    }

    /// How long after its last report a quota is as good as untouched, in milliseconds.
    #[must_use]
    pub fn fades_after(&self, holding: &Holding) -> u64 {
        let missing = signed(holding.burst).saturating_sub(self.available).max(0).cast_unsigned();
        let refill =
            u128::from(missing) * u128::from(holding.period_ms) / u128::from(holding.amount.max(1));
        u64::try_from(refill)
            .unwrap_or(u64::MAX)
            .saturating_add(holding.ttl_ms)
            .saturating_add(60_000)
    }

    /// Lets time pass: refills, and takes back what dead nodes held.
    fn advance(&mut self, holding: &Holding, now: Ms) {
        let passed = now.saturating_sub(self.as_of);
        if passed > SILENCE_MS {
            for lease in self.leases.values_mut() {
                lease.until = lease.until.saturating_add(passed);
            }
        }
        self.refill(holding, passed);
        self.as_of = self.as_of.max(now);
        let over: Vec<_> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.until <= now && lease.unused() > 0)
            .map(|(node, lease)| (node.clone(), *lease))
            .collect();
        for (node, lease) in over {
            let ended = self.take_back(lease, holding);
            self.leases.insert(node, ended);
        }
    }

    fn refill(&mut self, holding: &Holding, passed: u64) {
        let room = signed(holding.burst)
            .saturating_sub(signed(self.leased()))
            .saturating_sub(self.available);
        let period = u128::from(holding.period_ms.max(1));
        let credit = u128::from(passed) * u128::from(holding.amount) + u128::from(self.rest);
        let units = i64::try_from(credit / period).unwrap_or(i64::MAX);
        if units >= room {
            self.rest = 0;
            // A burst that was made smaller takes nothing away from leases.
            self.available = self.available.saturating_add(room);
        } else {
            self.rest = u64::try_from(credit % period).unwrap_or(0);
            self.available += units;
        }
    }

    /// Ends `lease`: what its node cannot have used is back in the bucket.
    fn take_back(&mut self, lease: Lease, holding: &Holding) -> Lease {
        let unused = lease.unused();
        let at_most = u128::from(lease.wanted) * u128::from(UNREPORTED_MS);
        let at_most = at_most.div_ceil(u128::from(holding.ttl_ms.max(1)));
        let used = unused.min(u64::try_from(at_most).unwrap_or(u64::MAX));
        self.available = self.available.saturating_add(signed(unused - used));
        let used = lease.used + used;
        Lease { used, granted: used + lease.released, wanted: 0, ..lease }
    }

    /// A lease that nothing is known of but what the node says.
    fn adopt(&mut self, holding: &Holding, moment: Moment) -> Lease {
        let rebuilds = !moment.known && moment.now < moment.held_until(holding);
        // What was charged here may not be in what was left.
        let left = holding.left.saturating_sub(signed(self.charged));
        if rebuilds && (holding.told_at_ms, -left) > (self.rebuilt_from, -self.available) {
            // The youngest word, and of two the one that says less.
            self.rebuilt_from = holding.told_at_ms;
            self.available = left;
            self.refill(holding, moment.now.saturating_sub(holding.told_at_ms));
        }
        let spent = holding.used + holding.released;
        // Of a lease that was forgotten because it was over long ago, nothing is left.
        let granted = if rebuilds { holding.granted.max(spent) } else { spent };
        self.overdraw(spent.saturating_sub(holding.granted));
        Lease {
            lease: holding.lease,
            seq: 0,
            granted,
            used: holding.used,
            released: holding.released,
            wanted: 0,
            until: moment.now,
        }
    }

    /// Enters what the node used and gave back, as it says now.
    fn settle(&mut self, lease: &mut Lease, holding: &Holding) {
        let released = holding.released.max(lease.released);
        self.available = self.available.saturating_add(signed(released - lease.released));
        lease.released = released;
        lease.used = holding.used;
        let spent = lease.used + lease.released;
        self.overdraw(spent.saturating_sub(lease.granted));
        lease.granted = lease.granted.max(spent);
    }

    /// Takes what was used already, there or not.
    fn overdraw(&mut self, units: u64) {
        self.charged = self.charged.saturating_add(units);
        self.available = self.available.saturating_sub(signed(units));
    }

    /// What `node` should hold of all that can be spent: what it wants; or where that is too
    /// much for all, an equal part, and what others leave of theirs.
    fn fair(&self, node: &str, lease: &Lease) -> u64 {
        let others = || {
            let now = self.as_of;
            self.leases.iter().filter(move |(name, lease)| *name != node && lease.until > now)
        };
        let pool = u64::try_from(self.available).unwrap_or(0)
            + lease.unused()
            + others().map(|(_, other)| other.unused()).sum::<u64>();
        let wanted: u64 = others().map(|(_, other)| other.wanted).sum();
        let nodes = 1 + others().filter(|(_, other)| other.wanted > 0).count() as u64;
        lease.wanted.min(pool.saturating_sub(wanted).max(pool.div_ceil(nodes)))
    }

    /// Forgets a node if there are too many for another.
    fn make_room(&mut self, node: &str, holding: &Holding) {
        if self.leases.len() < MOST_NODES || self.leases.contains_key(node) {
            return;
        }
        let oldest = self.leases.iter().min_by_key(|(_, lease)| lease.until);
        if let Some((oldest, lease)) = oldest.map(|(oldest, lease)| (oldest.clone(), *lease)) {
            self.take_back(lease, holding);
            self.leases.remove(&oldest);
        }
    }

    /// In how many milliseconds there is a unit.
    fn refilled_in(&self, holding: &Holding) -> u64 {
        let missing = 1_i64.saturating_sub(self.available).max(0).cast_unsigned();
        let needed = u128::from(missing) * u128::from(holding.period_ms);
        let needed = needed.saturating_sub(u128::from(self.rest));
        let ms = if missing == 0 { 0 } else { needed.div_ceil(u128::from(holding.amount.max(1))) };
        u64::try_from(ms).unwrap_or(u64::MAX)
    }

    /// Units that are on lease and unused.
    fn leased(&self) -> u64 {
        self.leases.values().map(Lease::unused).sum()
    }
}

impl Lease {
    const fn unused(&self) -> u64 {
        self.granted.saturating_sub(self.used).saturating_sub(self.released)
    }
}

fn share(lease: &Lease, holding: &Holding, quota: &Quota, keep: u64, retry_after: u64) -> Share {
    Share {
        rule: holding.rule.clone(),
        key: holding.key.clone(),
        lease: holding.lease,
        seq: holding.seq,
        granted: if lease.lease == holding.lease { lease.granted } else { 0 },
        keep,
        left: quota.available,
        retry_after_ms: retry_after,
        told_at_ms: quota.as_of,
    }
}

/// Numbers of units are below 2^50, see [`super::report`]; sums of some of them fit as well.
fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
