//! How the gates of several nodes share one limit: each spends from a lease that the exchange
//! hands out ahead of time, so no request waits for the network.
//!
//! On its tick a gate sends `POST /gate/leases` with [`LeaseReport`] and, as every caller of the
//! exchange, an [assertion](crate::assertion): `aud` the exchange, `htm` and `htp` this request, and
//! `sub` [`SUBJECT`](crate::introspection::SUBJECT). A user's assertion is refused. The exchange
//! answers 200 with [`LeaseAnswer`], or refuses: `leases_unavailable` (503) when its store does not
//! answer, or a code that any other request may meet.
//!
//! A *quota* is a bucket: it holds [`Holding::burst`] units at most and is refilled with
//! [`Holding::amount`] units per [`Holding::period_ms`]. What is leased is out of the bucket. So
//! whatever the nodes do, they admit no more than `burst + amount × time / period`, and to that
//! comes at most:
//! - what each node admits of a quota before it has heard of it (see the gate), which is charged to
//!   the quota when it is reported;
//! - what a node admitted without reporting it before its lease was taken back, beyond what it
//!   was expected to; charged when it is heard of again;
//! - what a node had reported that is gone for good, if the store loses its memory, too, and before
//!   that no other node has had an answer since, or after it an older report of that node arrives.
//!
//! **Reports may be lost, late, or sent twice.** A holding's counters only ever say how much in
//! all, never how much more, and [`Holding::seq`] grows with every report about it: one that is not
//! newer than the last one changes nothing. Nor is the assertion spent.
//!
//! **A lease ends** [`Holding::ttl_ms`] after its last report: the node must not spend it any more,
//! counted from when it *sent* that report; the exchange takes it back, counted from when it
//! *received* it. Time in which no node reported about a quota (the exchange or its store was away)
//! does not count for the exchange.
//!
//! **The store may lose its memory.** [`LeaseAnswer::memory`] then changes, and the reports say
//! which one the nodes knew. For the length of a lease nothing new is leased: the nodes tell what
//! they hold and what was left, and go on with it. To find that out, a memory that has just begun
//! leases nothing in its first second.

use serde::{Deserialize, Serialize};

/// Path of the report.
pub const PATH: &str = "/gate/leases";

/// The most holdings in one report. A gate with more reports them in turns.
pub const MAX_HOLDINGS: usize = 128;

/// The largest report, in bytes.
pub const MAX_REPORT_BYTES: usize = 64 * 1024;

/// The longest node id, rule's name, key and memory, in bytes: letters, digits, `-`, `_`, `.` and
/// `:`.
pub const MAX_NAME_BYTES: usize = 64;

/// The largest number of units anywhere: JSON's numbers are exact up to here on every reader.
pub const MAX_UNITS: u64 = 1 << 50;

/// The longest period: 31 days.
pub const MAX_PERIOD_MS: u64 = 31 * 24 * 3_600_000;

/// The shortest and the longest life of a lease.
pub const TTL_MS: (u64, u64) = (1_000, 600_000);

/// What one node holds, and what it would like to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseReport {
    /// The node: made up when its shared memory was, and kept there.
    pub node: String,
    /// The last [`LeaseAnswer::memory`] that the node has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// What it reports about; at most [`MAX_HOLDINGS`], no two with one rule and key.
    pub holdings: Vec<Holding>,
}

/// A node's part of one quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    /// The rule's name.
    pub rule: String,
    /// Whom the quota is for: a fingerprint, never the person's own name or address.
    pub key: String,
    /// How many units the bucket gains in one period; at least 1.
    pub amount: u64,
    /// The period, in milliseconds; 1,000 to [`MAX_PERIOD_MS`].
    pub period_ms: u64,
    /// How many units the bucket holds; at least 1.
    pub burst: u64,
    /// How long a lease lives without a report, in milliseconds; within [`TTL_MS`].
    pub ttl_ms: u64,
    /// Which of the node's leases of this quota: another number each time the node has forgotten
    /// the one before.
    pub lease: u64,
    /// Greater in each report about this lease.
    pub seq: u64,
    /// Units granted under this lease in all, as the node last heard.
    pub granted: u64,
    /// Units used under this lease in all; more than were granted, where the node had to guess.
    pub used: u64,
    /// Units given back under this lease in all.
    pub released: u64,
    /// Units that the node would like to have unused for the time of a lease.
    pub wanted: u64,
    /// The last answer's [`Share::left`].
    #[serde(default)]
    pub left: i64,
    /// The last answer's [`Share::told_at_ms`]; 0 if there was none.
    #[serde(default)]
    pub told_at_ms: u64,
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseAnswer {
    /// Names the memory that the exchange's store has now.
    pub memory: String,
    /// One for each holding, in their order; none for a quota that the exchange has no room for. The
    /// node goes on with that one as without word.
    pub shares: Vec<Share>,
}

/// What a node may spend of one quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The holding's rule.
    pub rule: String,
    /// The holding's key.
    pub key: String,
    /// The holding's lease.
    pub lease: u64,
    /// The report that this answers. An answer to an older one than the last is not heeded.
    pub seq: u64,
    /// Units granted under this lease in all; fewer than before if the lease was taken back.
    pub granted: u64,
    /// Units that the node should hold unused at most; it gives back the rest.
    pub keep: u64,
    /// Units that are leased to nobody; negative if more were used than there were.
    pub left: i64,
    /// In how many milliseconds there will be one to lease; 0 if there is.
    pub retry_after_ms: u64,
    /// When this was said, by the clock of the store.
    pub told_at_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn holding() -> Value {
        json!({
            "rule": "per-user", "key": "9f86d081884c7d65", "amount": 1000, "period_ms": 60_000,
            "burst": 1000, "ttl_ms": 10_000, "lease": 7, "seq": 8, "granted": 100, "used": 40,
            "released": 0, "wanted": 120, "left": 300, "told_at_ms": 1_000_000,
        })
    }

    #[test]
    fn the_wire_is_as_documented() {
        let report = json!({"node": "n1", "memory": "m1", "holdings": [holding()]});
        let read: LeaseReport = serde_json::from_value(report.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), report);
        let answer = json!({"memory": "m1", "shares": [{
            "rule": "per-user", "key": "9f86d081884c7d65", "lease": 7, "seq": 8, "granted": 160,
            "keep": 120, "left": -3, "retry_after_ms": 240, "told_at_ms": 1_000_250,
        }]});
        let read: LeaseAnswer = serde_json::from_value(answer.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), answer);
    }

    #[test]
    fn a_node_that_has_heard_nothing_yet_says_less() {
        let mut first = holding();
        first.as_object_mut().unwrap().retain(|name, _| !["left", "told_at_ms"].contains(&&**name));
        let report = json!({"node": "n1", "holdings": [first]});
        let read: LeaseReport = serde_json::from_value(report).unwrap();
        assert_eq!((read.memory, read.holdings[0].told_at_ms), (None, 0));
    }

    #[test]
    fn a_report_has_these_members_and_no_others() {
        for (name, value) in [
            ("amount", json!(-1)),
            ("used", json!(1.5)),
            ("seq", json!("8")),
            ("rule", json!(null)),
            ("more", json!(1)),
        ] {
            let mut wrong = holding();
            wrong[name] = value;
            let report = json!({"node": "n1", "holdings": [wrong]});
            assert!(serde_json::from_value::<LeaseReport>(report).is_err(), "{name}");
        }
    }

    #[test]
    fn a_full_report_is_not_too_large() {
        let text = "x".repeat(MAX_NAME_BYTES);
        let mut largest = holding();
        for (name, value) in largest.as_object_mut().unwrap() {
            *value = match name.as_str() {
                "rule" | "key" => json!(text),
                "period_ms" => json!(MAX_PERIOD_MS),
                "ttl_ms" => json!(TTL_MS.1),
                "left" => json!(-1_125_899_906_842_624_i64),
                _ => json!(MAX_UNITS),
            };
        }
        let report = json!({"node": text, "memory": text, "holdings": vec![largest; MAX_HOLDINGS]});
        let bytes = report.to_string().len();
        assert!(bytes <= MAX_REPORT_BYTES, "{bytes} bytes");
    }
}
