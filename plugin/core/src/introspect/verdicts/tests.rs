use serde_json::json;

use super::*;
use crate::{assertion::SigningKey, config::HttpUrl};

const ISSUER: &str = "https://id.example";

fn exchange(url: &str) -> Exchange {
    let key = SigningKey::new("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    Exchange::new(HttpUrl::parse(url).unwrap(), Duration::from_secs(3), key)
}

fn at(s: u64) -> UnixTime {
    UnixTime::from_secs(s)
}

fn active(s: u64) -> Answer {
    let claims = json!({"sub": "ada"}).as_object().unwrap().clone();
    Answer::Active(Rc::new(Claims::new(claims, false)), Duration::from_secs(s))
}

/// What is known of a token, in a word.
fn known(verdicts: &mut Verdicts, token: &str, now: UnixTime) -> &'static str {
    match find(verdicts, token, now) {
        Known::Active(_) => "active",
        Known::Inactive => "inactive",
        Known::Unavailable => "unavailable",
        Known::Ask(ticket) => {
            verdicts.release(&ticket);
            "nothing"
        }
        Known::Busy => "busy",
    }
}

fn find(verdicts: &mut Verdicts, token: &str, now: UnixTime) -> Known {
    verdicts.find(Opaque::parse(token).unwrap(), ISSUER, &exchange("http://a:1"), now)
}

fn ask(verdicts: &mut Verdicts, token: &str, now: UnixTime) -> Ticket {
    match find(verdicts, token, now) {
        Known::Ask(ticket) => ticket,
        _ => panic!("expected a ticket"),
    }
}

fn learn(verdicts: &mut Verdicts, token: &str, said: Result<&Answer, &AskError>, now: UnixTime) {
    let ticket = ask(verdicts, token, now);
    verdicts.settle(&ticket, said, now);
}

#[test]
fn what_is_said_holds_for_as_long_as_is_said() {
    let failure = AskError::NoAnswer("timeout".to_owned());
    let inactive = Answer::Inactive(Duration::from_secs(10));
    for (said, word, holds) in [
        (Ok(&active(60)), "active", 60),
        (Ok(&active(1)), "active", 1),
        (Ok(&active(0)), "active", 0),
        (Ok(&inactive), "inactive", 10),
        (Err(&failure), "unavailable", 1),
    ] {
        let mut verdicts = Verdicts::default();
        learn(&mut verdicts, "t", said, at(100));
        for (now, there) in
            [(100, holds > 0), (99 + holds, holds > 0), (100 + holds, false), (99, false)]
        {
            let mut verdicts = Verdicts::default();
            learn(&mut verdicts, "t", said, at(100));
            let expected = if there { word } else { "nothing" };
            assert_eq!(known(&mut verdicts, "t", at(now)), expected, "{word} {holds} at {now}");
        }
        assert_eq!(known(&mut verdicts, "another", at(100)), "nothing");
    }
}

#[test]
fn a_token_means_what_its_issuer_says_through_this_exchange_alone() {
    let mut verdicts = Verdicts::default();
    learn(&mut verdicts, "t", Ok(&active(60)), at(100));
    let token = Opaque::parse("t").unwrap();
    for (issuer, url, there) in [
        (ISSUER, "http://a:1", true),
        ("https://other.example", "http://a:1", false),
        (ISSUER, "http://b:1", false),
    ] {
        let found = verdicts.find(token, issuer, &exchange(url), at(100));
        assert_eq!(matches!(found, Known::Active(_)), there, "{issuer} {url}");
    }
}

#[test]
fn one_asks_about_a_token_and_the_others_wait() {
    let mut verdicts = Verdicts::default();
    let first = ask(&mut verdicts, "t", at(100));
    assert_eq!(known(&mut verdicts, "t", at(100)), "busy");
    assert_eq!(known(&mut verdicts, "another", at(100)), "nothing");
    // Its call takes three seconds at most, and with some tolerance it is over.
    assert_eq!(known(&mut verdicts, "t", at(103)), "busy");
    let second = ask(&mut verdicts, "t", at(104));
    verdicts.release(&first);
    assert_eq!(known(&mut verdicts, "t", at(104)), "busy", "the second still asks");
    verdicts.release(&second);
    assert_eq!(known(&mut verdicts, "t", at(104)), "nothing");
}

#[test]
fn a_flood_of_made_up_tokens_is_bounded_and_pushes_no_good_one_out() {
    let mut verdicts = Verdicts::default();
    learn(&mut verdicts, "good", Ok(&active(60)), at(100));
    let tickets: Vec<_> =
        (0..MOST_QUESTIONS).map(|n| ask(&mut verdicts, &format!("t{n}"), at(100))).collect();
    assert_eq!(known(&mut verdicts, "one-more", at(100)), "busy");
    for ticket in &tickets {
        verdicts.settle(ticket, Ok(&Answer::Inactive(Duration::from_secs(10))), at(100));
    }
    for n in 0..MOST_OTHERS * 2 {
        let said = Answer::Inactive(Duration::from_secs(10));
        learn(&mut verdicts, &format!("u{n}"), Ok(&said), at(101));
    }
    assert_eq!(known(&mut verdicts, "t0", at(101)), "nothing", "the oldest is forgotten");
    assert_eq!(known(&mut verdicts, "good", at(101)), "active");
    let counts = verdicts.take_counts();
    assert_eq!((counts.active, counts.failed), (1, 0));
    assert_eq!(verdicts.take_counts(), VerdictCounts::default());
}

#[test]
fn seats_are_few_and_come_back() {
    let verdicts = Verdicts::default();
    let mut seats: Vec<_> = std::iter::from_fn(|| verdicts.seat()).collect();
    assert_eq!(seats.len(), SEATS);
    seats.pop();
    assert!(verdicts.seat().is_some());
}
