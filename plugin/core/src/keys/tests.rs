use super::*;
use crate::{jwks::KeySet, zone::tests::TestZone};

const ISSUER: &str = "https://id.example";

fn document(kids: &[&str]) -> Vec<u8> {
    let keys: Vec<_> = kids
        .iter()
        .map(|kid| {
            serde_json::json!({"kty": "OKP", "crv": "Ed25519", "kid": kid,
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
        })
        .collect();
    serde_json::json!({ "keys": keys }).to_string().into_bytes()
}

fn fetched(kids: &[&str], fresh_for_s: Option<u64>) -> Fetched {
    let document = document(kids);
    let keys = KeySet::parse(&document).unwrap();
    Fetched { keys, document, fresh_for: fresh_for_s.map(Duration::from_secs) }
}

fn refused() -> FetchError {
    FetchError::NoAnswer { url: "discovery".to_owned(), reason: "broken connection".to_owned() }
}

fn broken() -> FetchError {
    KeySet::parse(b"{}").map_err(FetchError::from).err().unwrap()
}

fn at(s: u64) -> UnixTime {
    UnixTime::from_secs(1_000_000 + s)
}

/// The workers of one node, their zone, and the time.
struct Node {
    workers: Vec<KeyStore>,
    zone: Option<TestZone>,
    terms: KeyTerms,
    now: UnixTime,
}

impl Node {
    fn new(workers: usize) -> Self {
        Self {
            workers: std::iter::repeat_with(KeyStore::default).take(workers).collect(),
            zone: Some(TestZone::default()),
            terms: KeyTerms::default(),
            now: at(0),
        }
    }

    fn without_zone(workers: usize) -> Self {
        Self { zone: None, ..Self::new(workers) }
    }

    fn at(&mut self, s: u64) -> &mut Self {
        self.now = at(s);
        self
    }

    fn find(&mut self, worker: usize, kid: &str) -> Lookup {
        let zone = self.zone.as_ref().map(|zone| zone as &dyn Zone);
        self.workers[worker].find(ISSUER, kid, &self.terms, zone, self.now)
    }

    fn tend(&mut self, worker: usize) -> Option<Claim> {
        let zone = self.zone.as_ref().map(|zone| zone as &dyn Zone);
        self.workers[worker].tend(ISSUER, zone, self.now)
    }

    fn settle(&mut self, worker: usize, claim: &Claim, outcome: Result<Fetched, &FetchError>) {
        let zone = self.zone.as_ref().map(|zone| zone as &dyn Zone);
        self.workers[worker].settle(claim, outcome, &self.terms, zone, self.now);
    }

    /// Worker 0 fetches a set with these keys, for the first of them.
    fn fetch(&mut self, kids: &[&str]) {
        let Lookup::Fetch(claim) = self.find(0, kids[0]) else { panic!("no claim") };
        self.settle(0, &claim, Ok(fetched(kids, None)));
    }

    fn has(&mut self, worker: usize, kid: &str) -> bool {
        matches!(self.find(worker, kid), Lookup::Found(_))
    }
}

#[test]
fn one_worker_fetches_and_all_have_the_keys() {
    let mut node = Node::new(3);
    let Lookup::Fetch(claim) = node.find(0, "a") else { panic!("no claim") };
    assert!(matches!(node.find(0, "a"), Lookup::Busy));
    assert!(matches!(node.find(1, "a"), Lookup::Busy));
    assert!(node.tend(2).is_none());
    node.settle(0, &claim, Ok(fetched(&["a", "b"], None)));
    for worker in 0..3 {
        assert!(node.has(worker, "a") && node.has(worker, "b"));
    }
}

#[test]
fn made_up_key_ids_cause_one_fetch_in_ten_seconds_on_the_node() {
    for answer in [true, false] {
        let mut node = Node::new(4);
        if answer {
            node.fetch(&["a"]);
        }
        let mut fetches = 0;
        // 30 s of 100 requests a second, each fetch taking 200 ms.
        let mut under_way: Option<(usize, Claim, u64)> = None;
        for ms in (0..30_000_u64).step_by(10) {
            node.now = at(100).plus(Duration::from_millis(ms));
            if let Some((worker, claim, _)) = under_way.take_if(|(_, _, end)| ms >= *end) {
                let (set, error) = (fetched(&["a"], None), broken());
                node.settle(worker, &claim, if answer { Ok(set) } else { Err(&error) });
            }
            let worker = (ms / 10 % 4) as usize;
            let claim = match node.find(worker, &format!("made-up-{ms}")) {
                Lookup::Fetch(claim) => Some(claim),
                Lookup::Found(_) => panic!("found a key that nobody has"),
                Lookup::Busy | Lookup::Unknown | Lookup::Unavailable => None,
            };
            if let Some(claim) = claim.or_else(|| node.tend(worker)) {
                fetches += 1;
                under_way = Some((worker, claim, ms + 200));
            }
            assert!(!answer || node.has(worker, "a"), "known keys are unaffected");
        }
        assert!(fetches <= 3, "{fetches} fetches in 30 s, keys there: {answer}");
    }
}

#[test]
fn without_a_zone_each_worker_keeps_to_the_limit_by_itself() {
    let mut node = Node::without_zone(2);
    for worker in 0..2 {
        let Lookup::Fetch(claim) = node.find(worker, "x") else { panic!("no claim") };
        assert!(matches!(node.find(worker, "y"), Lookup::Busy));
        node.settle(worker, &claim, Ok(fetched(&["a"], None)));
        assert!(matches!(node.find(worker, "y"), Lookup::Unknown));
        assert!(node.has(worker, "a"));
    }
    node.at(10);
    assert!(matches!(node.find(0, "y"), Lookup::Fetch(_)));
}

#[test]
fn a_key_that_the_issuer_did_make_lets_the_next_one_come_at_once() {
    let mut node = Node::new(2);
    node.fetch(&["a"]);
    for (s, kid) in [(1, "b"), (2, "c"), (3, "d")] {
        node.at(s);
        let Lookup::Fetch(claim) = node.find(1, kid) else { panic!("{kid} is not fetched") };
        node.settle(1, &claim, Ok(fetched(&[kid], None)));
        assert!(node.has(0, kid));
    }
    assert!(!node.has(0, "a"), "a key that is no longer published is gone everywhere");
}

#[test]
fn a_fetch_that_never_ends_blocks_nobody_for_long() {
    let mut node = Node::new(2);
    let Lookup::Fetch(_) = node.find(0, "a") else { panic!("no claim") };
    node.at(5);
    assert!(matches!(node.find(1, "a"), Lookup::Busy));
    node.at(6);
    assert!(matches!(node.find(1, "a"), Lookup::Unavailable));
    assert!(node.tend(1).is_some(), "the background may try");
    node.at(12);
    assert!(matches!(node.find(1, "a"), Lookup::Fetch(_)));
}

#[test]
fn a_fetch_whose_request_left_is_taken_over_by_the_tick_once() {
    let mut node = Node::new(2);
    let Lookup::Fetch(claim) = node.find(0, "a") else { panic!("no claim") };
    assert!(node.tend(1).is_none(), "somebody fetches");
    let zone = node.zone.take().unwrap();
    node.workers[0].orphan(&claim, Some(&zone), at(0));
    node.zone = Some(zone);
    assert!(matches!(node.find(1, "a"), Lookup::Busy), "who waits goes on waiting");
    let taken_over = node.tend(1).unwrap();
    assert!(node.tend(0).is_none());
    assert!(matches!(node.find(0, "a"), Lookup::Busy));
    node.settle(1, &taken_over, Ok(fetched(&["a"], None)));
    assert!(matches!(node.find(0, "a"), Lookup::Found(_)));
    assert!(matches!(node.find(0, "next"), Lookup::Fetch(_)), "the key was there, so no pause");
}

#[test]
fn keys_serve_for_as_long_as_configured_while_the_issuer_is_down() {
    let mut node = Node::new(1);
    node.terms.usable = Duration::from_secs(3_600);
    node.fetch(&["a"]);
    for s in (100..3_600).step_by(10) {
        node.at(s);
        if let Some(claim) = node.tend(0) {
            node.settle(0, &claim, Err(&refused()));
        }
        assert!(node.has(0, "a"), "after {s} s");
    }
    let counts = node.workers[0].take_counts();
    assert!(counts.served_stale > 300 && counts.failed > 300, "{counts:?}");
    node.at(3_600);
    assert!(matches!(node.find(0, "a"), Lookup::Fetch(_) | Lookup::Busy | Lookup::Unavailable));
}

#[test]
fn keys_are_refreshed_before_they_are_stale_by_one_worker() {
    for (says, rest) in [(None, 225), (Some(100), 75), (Some(0), 45), (Some(86_400), 2_700)] {
        let mut node = Node::new(3);
        let claim = node.tend(0).unwrap();
        node.settle(0, &claim, Ok(fetched(&["a"], says)));
        for worker in 0..3 {
            assert!(node.at(rest - 1).tend(worker).is_none(), "{says:?}");
        }
        let claim = node.at(rest).tend(1).unwrap();
        assert!(node.tend(0).is_none() && node.tend(2).is_none());
        node.settle(1, &claim, Ok(fetched(&["a", "b"], says)));
        assert!(node.has(0, "b") && node.has(2, "b"));
    }
}

#[test]
fn a_refresh_that_fails_is_tried_again_after_a_pause() {
    let mut node = Node::new(2);
    node.fetch(&["a"]);
    let claim = node.at(225).tend(0).unwrap();
    node.settle(0, &claim, Err(&broken()));
    assert!(node.at(234).tend(1).is_none());
    assert!(node.at(235).tend(1).is_some());
}

#[test]
fn an_issuer_that_is_just_starting_is_asked_again_after_a_second() {
    let mut node = Node::new(2);
    let Lookup::Fetch(claim) = node.find(0, "a") else { panic!("no claim") };
    node.settle(0, &claim, Err(&refused()));
    assert!(matches!(node.find(1, "a"), Lookup::Unavailable));
    assert!(matches!(node.at(1).find(1, "a"), Lookup::Fetch(_)));
}

#[test]
fn a_slow_or_broken_issuer_is_left_alone_for_ten_seconds() {
    let mut node = Node::new(2);
    let Lookup::Fetch(claim) = node.find(0, "a") else { panic!("no claim") };
    node.at(2).settle(0, &claim, Err(&refused()));
    for s in [2, 5, 11] {
        assert!(matches!(node.at(s).find(1, "a"), Lookup::Unavailable));
        assert!(node.tend(0).is_none());
    }
    assert!(matches!(node.at(12).find(1, "a"), Lookup::Fetch(_)));
}

/// A rotation may be what the issuer's silence hides, so nobody is told that a key does not exist.
#[test]
fn while_the_issuer_does_not_answer_no_key_is_called_unknown() {
    let mut node = Node::new(2);
    node.fetch(&["a"]);
    let Lookup::Fetch(claim) = node.at(20).find(0, "b") else { panic!("no claim") };
    node.settle(0, &claim, Err(&refused()));
    for worker in [0, 1] {
        assert!(matches!(node.find(worker, "b"), Lookup::Unavailable));
        assert!(node.has(worker, "a"));
    }
    let Lookup::Fetch(claim) = node.at(31).find(1, "b") else { panic!("no claim") };
    node.settle(1, &claim, Ok(fetched(&["a"], None)));
    for worker in [0, 1] {
        assert!(matches!(node.find(worker, "b"), Lookup::Unknown));
    }
}

#[test]
fn cells_of_somebody_else_are_not_believed() {
    for foreign in [&b""[..], b"{}", b"null", b"1", b"{\"name\":\"other\"}\n{}", b"\xff\n\n"] {
        let mut node = Node::new(2);
        node.fetch(&["a"]);
        node.zone.as_ref().unwrap().overwrite_all(foreign);
        assert!(node.has(0, "a"), "what a worker knows, it knows");
        // Worker 1 has nothing and believes nothing, so it fetches itself; once.
        let Lookup::Fetch(claim) = node.find(1, "a") else { panic!("{foreign:?} was believed") };
        node.zone.as_ref().unwrap().overwrite_all(foreign);
        assert!(matches!(node.find(1, "a"), Lookup::Busy));
        node.settle(1, &claim, Ok(fetched(&["a"], None)));
        assert!(node.has(1, "a"));
    }
}

#[test]
fn keys_in_the_cell_of_another_issuer_are_not_taken() {
    let mut node = Node::new(2);
    node.zone.as_mut().unwrap().collide = true;
    node.fetch(&["a"]);
    let zone = node.zone.as_ref().unwrap();
    let lookup = node.workers[1].find("https://evil.example", "a", &node.terms, Some(zone), at(0));
    assert!(matches!(lookup, Lookup::Fetch(_)));
    assert!(node.has(0, "a"));
}

#[test]
fn colliding_cells_cost_one_fetch_per_worker_and_no_more() {
    let mut node = Node::new(3);
    node.zone.as_mut().unwrap().collide = true;
    let mut fetches = 0;
    for round in 0..300_u64 {
        node.now = at(0).plus(Duration::from_millis(round * 30));
        for worker in 0..3 {
            if let Lookup::Fetch(claim) = node.find(worker, "made-up") {
                fetches += 1;
                node.settle(worker, &claim, Ok(fetched(&["a"], None)));
            }
            node.zone.as_ref().unwrap().overwrite_all(b"rl:user:29685295 7");
        }
    }
    assert!(fetches <= 3, "{fetches}");
}

#[test]
fn a_zone_that_takes_nothing_is_as_good_as_none() {
    let mut node = Node::new(2);
    node.zone.as_mut().unwrap().full = true;
    node.fetch(&["a"]);
    assert!(node.has(0, "a"));
    assert!(matches!(node.find(0, "made-up"), Lookup::Fetch(_)));
    assert!(matches!(node.find(0, "made-up"), Lookup::Busy));
}

#[test]
fn a_zone_that_was_wiped_gets_the_keys_back() {
    let mut node = Node::new(2);
    node.fetch(&["a"]);
    node.zone.as_ref().unwrap().wipe();
    assert!(node.tend(0).is_none());
    assert!(node.has(1, "a"));
}

#[test]
fn a_plan_from_another_clock_is_not_followed() {
    let mut node = Node::new(2);
    node.fetch(&["a"]);
    // The clock is set back by a day: what was written then lies in the future.
    node.now = UnixTime::from_secs(1_000_000 - 86_400);
    assert!(node.has(0, "a"));
    assert!(matches!(node.find(1, "a"), Lookup::Fetch(_)));
}

#[test]
fn a_clock_that_is_set_back_keeps_no_new_key_out() {
    for mut node in [Node::new(2), Node::without_zone(1)] {
        node.at(7_200).fetch(&["a"]);
        let Lookup::Fetch(claim) = node.find(0, "made-up") else { panic!("no claim") };
        node.settle(0, &claim, Ok(fetched(&["a"], None)));
        assert!(matches!(node.find(0, "b"), Lookup::Unknown), "ten quiet seconds");
        node.at(0);
        assert!(node.has(0, "a"));
        let Lookup::Fetch(claim) = node.find(0, "b") else { panic!("no claim") };
        node.settle(0, &claim, Ok(fetched(&["a", "b"], None)));
        assert!(node.has(0, "b"));
    }
}

#[test]
fn a_worker_that_cannot_read_the_others_keys_refreshes_its_own() {
    let mut node = Node::new(2);
    node.fetch(&["a"]);
    assert!(node.has(1, "a"));
    let name = document::cell(ISSUER);
    let claim = node.at(225).tend(0).unwrap();
    node.settle(0, &claim, Ok(fetched(&["b"], None)));
    assert!(node.zone.as_ref().unwrap().names().contains(&name));
    node.zone.as_ref().unwrap().put(&name, b"foreign");
    assert!(!node.has(1, "b"));
    assert!(node.at(299).tend(1).is_none());
    let claim = node.at(300).tend(1).unwrap();
    node.settle(1, &claim, Ok(fetched(&["b"], None)));
    assert!(node.has(1, "b"));
}

#[test]
fn the_same_document_is_the_same_edition() {
    let mut node = Node::new(1);
    node.fetch(&["a"]);
    let edition = |node: &mut Node, kid: &str| match node.find(0, kid) {
        Lookup::Found(held) => held.edition,
        _ => panic!("no {kid}"),
    };
    let first = edition(&mut node, "a");
    for (s, kids, same) in [(225, &["a"][..], true), (450, &["a", "b"], false)] {
        let claim = node.at(s).tend(0).unwrap();
        node.settle(0, &claim, Ok(fetched(kids, None)));
        assert_eq!(edition(&mut node, "a") == first, same);
        let terms = node.terms.clone();
        assert_eq!(node.workers[0].holds(ISSUER, first, &terms, at(s)), same);
    }
}

#[test]
fn an_edition_stands_no_longer_than_its_keys() {
    let mut node = Node::new(1);
    node.fetch(&["a"]);
    let Lookup::Found(held) = node.find(0, "a") else { panic!("no key") };
    let terms = node.terms.clone();
    assert!(node.workers[0].holds(ISSUER, held.edition, &terms, at(86_399)));
    assert!(!node.workers[0].holds(ISSUER, held.edition, &terms, at(86_400)));
    assert!(!node.workers[0].holds("https://other.example", held.edition, &terms, at(0)));
}
