//! Whatever is done to the records of an audit, the first of them that is not as it was written
//! is found.

use proptest::prelude::*;

use super::{
    Act, Action, Actor, Anchor, Audit, NOTHING_BEFORE, Problem, Record, Verdict, begin, chain::hex,
};
use crate::{
    store::{Connection, params},
    time::UnixTime,
};

const KEY: [u8; 32] = [7; 32];
const RECORDS: i64 = 1_000;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z0-9 |,é\"]{1,12}"]
}

fn record() -> impl Strategy<Value = Record> {
    let actor = prop_oneof![
        text().prop_map(Actor::Person),
        Just(Actor::Operator),
        Just(Actor::Exchange),
        Just(Actor::Stranger),
    ];
    let action = prop_oneof![Just(Action::Login), Just(Action::Link), Just(Action::InstanceAdd)];
    (actor, action, [text(), text(), text(), text()]).prop_map(
        |(actor, action, [subject, detail, reason, request_id])| {
            Act::new(actor, request_id).because(reason).did(action).on(subject).with(detail)
        },
    )
}

/// What somebody does to the table.
#[derive(Debug, Clone)]
enum Deed {
    /// Another value in a column of a record.
    Change(i64, &'static str),
    /// A record is taken out.
    Delete(i64),
    /// Two records change places.
    Swap(i64, i64),
    /// A record and all after it are taken out.
    Cut(i64),
    /// The same, and the end is said to be there.
    CutAndSaySo(i64),
    /// A record is added that nobody with the key wrote.
    Add,
    /// The end is said to be elsewhere.
    MoveEnd,
    /// A record is added, after another one was added where none was.
    Before,
}

fn deed() -> impl Strategy<Value = Deed> {
    const COLUMNS: [&str; 11] = [
        "at",
        "actor_kind",
        "actor",
        "action",
        "instance",
        "subject",
        "detail",
        "reason",
        "request_id",
        "outcome",
        "hash",
    ];
    let seq = || 1..=RECORDS;
    prop_oneof![
        4 => (seq(), proptest::sample::select(&COLUMNS[..])).prop_map(|(n, c)| Deed::Change(n, c)),
        2 => seq().prop_map(Deed::Delete),
        2 => (seq(), seq()).prop_filter("two", |(a, b)| a != b).prop_map(|(a, b)| Deed::Swap(a, b)),
        2 => seq().prop_map(Deed::Cut),
        2 => seq().prop_map(Deed::CutAndSaySo),
        1 => Just(Deed::Add),
        1 => Just(Deed::MoveEnd),
        1 => Just(Deed::Before),
    ]
}

/// Does it, and says what must be found.
fn done(connection: &Connection, deed: &Deed) -> (i64, Problem) {
    let run = |sql: &str| connection.execute_batch(sql).unwrap();
    match *deed {
        Deed::Change(seq, column) => {
            let other = match column {
                "at" => "at + 1",
                "hash" => "zeroblob(32)",
                column => &format!("{column} || 'x'"),
            };
            run(&format!("UPDATE audit SET {column} = {other} WHERE seq = {seq}"));
            (seq, Problem::Changed)
        }
        Deed::Delete(seq) => {
            run(&format!("DELETE FROM audit WHERE seq = {seq}"));
            (seq, if seq == RECORDS { Problem::Cut } else { Problem::Missing })
        }
        Deed::Swap(a, b) => {
            run(&format!(
                "UPDATE audit SET seq = -1 WHERE seq = {a}; UPDATE audit SET seq = {a} WHERE seq = {b};
                 UPDATE audit SET seq = {b} WHERE seq = -1"
            ));
            (a.min(b), Problem::Changed)
        }
        Deed::Cut(seq) => {
            run(&format!("DELETE FROM audit WHERE seq >= {seq}"));
            (seq, Problem::Cut)
        }
        Deed::CutAndSaySo(seq) => {
            run(&format!("DELETE FROM audit WHERE seq >= {seq}"));
            let last = format!("SELECT hash FROM audit WHERE seq = {}", seq - 1);
            let hash: Option<Vec<u8>> =
                connection.query_optional(&last, &[], |row| row.get(0)).unwrap();
            let hash = hash.unwrap_or(NOTHING_BEFORE.to_vec());
            run(&format!("UPDATE audit_head SET seq = {}, hash = x'{}'", seq - 1, hex(&hash)));
            (seq, Problem::EndChanged)
        }
        Deed::Add => {
            run(&format!(
                "INSERT INTO audit SELECT {RECORDS} + 1, at, actor_kind, actor, action, instance,
                 subject, detail, reason, request_id, outcome, hash FROM audit WHERE seq = 1"
            ));
            (RECORDS + 1, Problem::Changed)
        }
        Deed::MoveEnd => {
            run("UPDATE audit_head SET seq = seq + 1");
            (RECORDS + 1, Problem::EndChanged)
        }
        Deed::Before => {
            run("INSERT INTO audit SELECT 0, at, actor_kind, actor, action, instance, subject,
                 detail, reason, request_id, outcome, hash FROM audit WHERE seq = 1");
            (0, Problem::Changed)
        }
    }
}

/// A database with these records, and where its audit ends.
fn written(audit: &Audit, records: &[Record]) -> (Connection, Anchor) {
    let connection = Connection::in_memory();
    connection.execute_batch("BEGIN").unwrap();
    begin(&connection, b"sealed", &KEY).unwrap();
    for (record, now) in records.iter().zip(1..) {
        audit.record(&connection, record, UnixTime::from_secs(now)).unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
    let end = audit.head_in(&connection).unwrap();
    (connection, end)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_to_a_thousand_records_is_found(
        records in proptest::collection::vec(record(), RECORDS as usize),
        deed in deed(),
    ) {
        let audit = Audit::with(&KEY);
        let (connection, end) = written(&audit, &records);
        prop_assert_eq!(end.seq, RECORDS);
        let whole = audit.verify_in(&connection, Some(&end)).unwrap();
        prop_assert_eq!(whole, Verdict::Whole(end));

        for change in ["UPDATE audit SET reason = 'other'", "DELETE FROM audit"] {
            prop_assert!(connection.execute_batch(change).is_err(), "only added to");
        }
        connection.execute_batch(
            "DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted",
        ).unwrap();
        let (seq, problem) = done(&connection, &deed);
        let found = audit.verify_in(&connection, None).unwrap();
        prop_assert_eq!(found, Verdict::Broken { seq, problem }, "{:?}", deed);
    }
}

#[test]
fn a_database_of_an_earlier_day_is_found_by_an_anchor() {
    let audit = Audit::with(&KEY);
    let act = Act::at_the_command_line();
    let records: Vec<_> = (0..5).map(|n| act.did(Action::Login).with(n.to_string())).collect();
    let (earlier, then) = written(&audit, &records[..3]);
    let (later, now) = written(&audit, &records);
    assert_eq!(audit.verify_in(&later, Some(&then)).unwrap(), Verdict::Whole(now.clone()));
    let cut = Verdict::Broken { seq: 4, problem: Problem::Cut };
    assert_eq!(audit.verify_in(&earlier, Some(&now)).unwrap(), cut);
    let (rewritten, _) = written(&audit, &records[1..]);
    let other = Verdict::Broken { seq: 3, problem: Problem::NotAnchored };
    assert_eq!(audit.verify_in(&rewritten, Some(&then)).unwrap(), other);
}

#[test]
fn nothing_is_added_to_an_audit_whose_end_was_changed() {
    let audit = Audit::with(&KEY);
    let record = Act::at_the_command_line().did(Action::Login);
    let (connection, end) = written(&audit, &[record.clone(), record.clone()]);
    let hash: Vec<u8> = connection
        .query_row("SELECT hash FROM audit WHERE seq = 1", &[], |row| row.get(0))
        .unwrap();
    let change = "UPDATE audit_head SET seq = ?1, hash = ?2";
    connection.execute(change, params![1_i64, hash]).unwrap();
    assert!(audit.record(&connection, &record, UnixTime::from_secs(9)).is_err());
    connection.execute(change, params![end.seq, end.hash]).unwrap();
    assert!(audit.record(&connection, &record, UnixTime::from_secs(9)).is_ok());
}
