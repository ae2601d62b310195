//! The ledger of the real program: what survives, what leaks, and what the command line does.

use std::{path::Path, process::Command, time::Duration};

use kombi_exchange::{
    assertion::GateKey,
    config,
    usage::{PLANS, PRICES},
};
use kombi_spec::usage::{
    meter::MeterEvent,
    report::Report,
    settle::{EndReason, Outcome, Settlement, Tokens, UsageSource},
    trace::{MARK, TYP},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    binary::{Serving, program, run},
    gate::Gate,
    ledger::{Books, KEY, Terms, call, number, settlement, wanted},
};

/// The program with a ledger on `terms`.
fn keeping(data: &Path, terms: &Terms) -> Command {
    let mut command = program(data);
    command
        .env(PLANS, terms.plans())
        .env(PRICES, terms.prices())
        .env("KOMBI_EXCHANGE_PROVIDER_OPENAI_KEY", KEY);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_reserved_and_settled_survives_kill_9() {
    let (data, terms) = (tempfile::tempdir().unwrap(), Terms::write());
    for round in 1..=5 {
        let serving = Serving::start_with(keeping(data.path(), &terms));
        let books = Books::of(serving.listen);
        let (open, settled) = (format!("open{round}"), format!("settled{round}"));
        books.reserved(&wanted(&open, call("ada", "metered"))).await;
        books.reserved(&wanted(&settled, call("ada", "metered"))).await;
        let outcome = books.settle(vec![settlement(&settled, call("ada", "metered"))]).await;
        assert_eq!(outcome, [Outcome::Accepted]);
        serving.kill();

        let count = |state: &str| {
            let sql = format!("SELECT count(*) FROM usage_metrics WHERE state = '{state}'");
            number(data.path(), &sql)
        };
        assert_eq!((count("open"), count("settled")), (round, round));
    }
    // The gateway did not hear of it, and settles again.
    let serving = Serving::start_with(keeping(data.path(), &terms));
    let again = settlement("settled1", call("ada", "metered"));
    assert_eq!(Books::of(serving.listen).settle(vec![again]).await, [Outcome::Duplicate]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_providers_key_is_in_its_reservation_and_nowhere_else() {
    let (data, terms) = (tempfile::tempdir().unwrap(), Terms::write());
    let mut command = keeping(data.path(), &terms);
    command.env(config::LOG, "trace");
    let serving = Serving::start_with(command);
    let books = Books::of(serving.listen);
    let reservation = books.reserved(&wanted("a", call("ada", "metered"))).await;
    assert!(reservation.authorization.unwrap().contains(KEY));

    let mut answers = Vec::new();
    let conflict = wanted("a", call("bob", "metered"));
    let unpriced = {
        let mut it = wanted("b", call("bob", "metered"));
        it.call.model = "x".into();
        it
    };
    for request in [conflict, unpriced, wanted("c", call("ada", "gold"))] {
        answers.push(books.reserve(&request).await);
    }
    let body = serde_json::json!({"settlements": [settlement("a", call("ada", "metered")), 1]});
    answers.push(books.settle_body(body.to_string().into_bytes()).await);
    for accept in ["application/json", "text/csv", "text/html"] {
        answers.push(books.report(("a", &["admin:billing"]), "/admin/usage", Some(accept)).await);
    }
    let ops = crate::exchange::client();
    answers.push(ops.get(format!("http://{}/metrics", serving.ops)).send().await.unwrap());
    for answer in answers {
        let (headers, body) = (format!("{:?}", answer.headers()), answer.bytes().await.unwrap());
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(!headers.contains("CANARY") && !body.contains("CANARY"), "{headers} {body}");
    }
    let log = serving.kill();
    assert!(log.iter().any(|line| line.contains("usage_reserve")), "{log:#?}");
    let leak = log.iter().find(|line| line.contains("CANARY"));
    assert!(leak.is_none(), "{leak:?}");
    for file in std::fs::read_dir(data.path()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(6).any(|bytes| bytes == b"CANARY"), "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn terms_are_read_again_on_sighup_and_kept_if_they_cannot_be_used() {
    let (data, terms) = (tempfile::tempdir().unwrap(), Terms::write());
    let serving = Serving::start_with(keeping(data.path(), &terms));
    let books = Books::of(serving.listen);
    let admits = async |id: &str, plan: &str| {
        books.reserve(&wanted(id, call("ada", plan))).await.status() == 200
    };
    assert!(!admits("a", "gold").await);
    let gold =
        format!("{}\n[plan.gold]\nbilled = false\nmax_output_tokens = 1\n", crate::ledger::PLANS);
    terms.set_plans(&gold);
    let hangup = || kill(Pid::from_raw(serving.id()), Signal::SIGHUP).unwrap();
    hangup();
    let wait = async {
        while !admits("b", "gold").await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("it did not read them again");

    terms.set_plans("[plan.silver]\nbilled = maybe");
    hangup();
    // The log says so; until then the plan is there, and afterwards, too.
    for n in 0..20 {
        assert!(admits(&format!("c{n}"), "gold").await);
    }
    let log = serving.kill();
    let told = |line: &&String| line.contains("stay as they were") && line.contains("line 2");
    assert_eq!(log.iter().filter(told).count(), 1, "{log:#?}");
}

#[test]
fn terms_that_cannot_be_used_are_one_sentence_that_names_variable_and_place() {
    let (data, terms) = (tempfile::tempdir().unwrap(), Terms::write());
    let broken = terms.plans().with_file_name("broken.toml");
    std::fs::write(&broken, "currency = \"EUR\"\n[[price]]\nprovider = 1\n").unwrap();
    for (variable, value, sentence) in [
        (
            PLANS,
            "/does/not/exist",
            "KOMBI_EXCHANGE_PLANS: expected a file that can be used, found /does",
        ),
        (PRICES, broken.to_str().unwrap(), "line 3"),
        (PRICES, "", "KOMBI_EXCHANGE_PRICES: expected a file that can be used, found nothing, but"),
        (
            "KOMBI_EXCHANGE_PROVIDER_OPENAI_KEY",
            "CANARY SECRET",
            "in KOMBI_EXCHANGE_PROVIDER_OPENAI_KEY",
        ),
        (config::USAGE_LONGEST_CALL_S, "0", "expected whole seconds from 1 to 86400"),
    ] {
        let mut serve = keeping(data.path(), &terms);
        serve.arg("serve").env(variable, value);
        let (exit, _, error) = run(serve);
        assert_eq!(exit, Some(2), "{variable}={value}: {error}");
        assert!(error.contains(sentence), "{variable}={value}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!error.contains("CANARY"), "{error}");
    }
}

/// What the gate leaves in the gateway's log.
fn trace(gate: &Gate, settlement: &Settlement) -> String {
    format!(
        "2026/11/24 12:00:00 [notice] 7#0: *3 [wasm] {MARK}{} <kombi_gate>",
        gate.seal(TYP, settlement)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_log_is_replayed_beside_a_running_exchange() {
    let (data, terms) = (tempfile::tempdir().unwrap(), Terms::write());
    let serving = Serving::start_with(keeping(data.path(), &terms));
    let books = Books::of(serving.listen);
    let (gate, stranger) = (Gate::new(1), Gate::new(2));
    for id in ["lost", "guessed", "known"] {
        books.reserved(&wanted(id, call("ada", "metered"))).await;
    }
    let guess = Settlement {
        usage_source: UsageSource::EstimatedAbort,
        usage: Tokens { input: 1, ..Tokens::default() },
        ..settlement("guessed", call("ada", "metered"))
    };
    books.settle(vec![guess, settlement("known", call("ada", "metered"))]).await;

    let good = |id| settlement(id, call("ada", "metered"));
    let malformed = Settlement { end_reason: EndReason::Expired, ..good("malformed") };
    let sealed = gate.seal(TYP, &good("cut"));
    let lines = [
        "2026/11/24 12:00:00 [error] something else".to_owned(),
        trace(&gate, &good("lost")),
        trace(&gate, &good("lost")),
        trace(&gate, &good("guessed")),
        trace(&gate, &good("known")),
        trace(&gate, &good("unknown")),
        trace(&gate, &malformed),
        trace(&stranger, &good("forged")),
        format!("\"GET /{MARK}{} HTTP/1.1\"", gate.seal("kombi-assertion+jwt", &good("forged"))),
        format!("{MARK}{}", sealed.rsplit_once('.').unwrap().0),
    ];
    let log = terms.plans().with_file_name("error.log");
    std::fs::write(&log, lines.join("\n")).unwrap();
    let replay = || {
        let mut command = keeping(data.path(), &terms);
        command.args(["usage", "replay", "--json"]).arg(&log);
        let (exit, output, error) = run(command);
        assert_eq!(exit, Some(0), "{error}");
        serde_json::from_str::<Value>(&output).unwrap()
    };
    let expected = serde_json::json!({
        "lines": 10, "accepted": 2, "replaced": 1, "duplicate": 2, "malformed": 1, "refused": 3,
    });
    assert_eq!(replay(), expected);
    let again = replay();
    assert_eq!((&again["accepted"], &again["duplicate"]), (&0.into(), &5.into()), "{again}");
    let rows = "SELECT count(*) FROM usage_metrics WHERE usage_source = 'provider'";
    assert_eq!(number(data.path(), rows), 4);
    assert_eq!(number(data.path(), "SELECT count(*) FROM usage_metrics"), 4);
    // The exchange goes on with what the replay wrote.
    assert_eq!(books.settle(vec![good("lost")]).await, [Outcome::Duplicate]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_reports_and_empties_the_outbox() {
    let (data, terms) = (tempfile::tempdir().unwrap(), Terms::write());
    let now = kombi_exchange::time::UnixTime::now().as_secs();
    let events = || {
        let mut command = keeping(data.path(), &terms);
        command.args(["usage", "outbox"]);
        let (exit, output, error) = run(command);
        assert_eq!(exit, Some(0), "{error}");
        let event = |line: &str| serde_json::from_str::<MeterEvent>(line).unwrap();
        output.lines().map(event).collect::<Vec<_>>()
    };
    let serve_and_settle = async |settlements: Vec<Settlement>| {
        let serving = Serving::start_with(keeping(data.path(), &terms));
        Books::of(serving.listen).settle(settlements).await;
        serving.kill();
        // The first thing that it does is to sweep.
        let serving = Serving::start_with(keeping(data.path(), &terms));
        let wait = async {
            let due = format!(
                "SELECT count(*) FROM usage_metrics
                 WHERE NOT metered AND billed AND reserved_at < {}",
                kombi_exchange::time::UnixTime::now().as_secs() - 7200
            );
            while number(data.path(), &due) > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.expect("nothing was metered");
        serving.kill();
    };
    let left = |id, plan, hours: u64| Settlement {
        sent_at: now - hours * 3_600,
        ..settlement(id, call("ada", plan))
    };
    let guess = Settlement {
        usage_source: UsageSource::EstimatedAbort,
        usage: Tokens { input: 8, output: 25, ..Tokens::default() },
        ..left("c", "metered", 30)
    };
    serve_and_settle(vec![
        left("a", "metered", 50),
        left("b", "metered", 50),
        guess,
        left("d", "free", 50),
        left("e", "metered", 0),
    ])
    .await;
    let first = events();
    let told = |events: &[MeterEvent]| {
        let told = |event: &MeterEvent| (event.event_name.clone(), event.payload.value.clone());
        let mut told: Vec<_> = events.iter().map(told).collect();
        told.sort();
        told
    };
    let named = |pairs: &[(&str, &str)]| {
        let named =
            |(name, value): &(&str, &str)| (format!("kombi_ai_{name}"), (*value).to_owned());
        pairs.iter().map(named).collect::<Vec<_>>()
    };
    assert_eq!(
        told(&first),
        named(&[
            ("cost_nano", "132000"),
            ("cost_nano", "224000"),
            ("input_tokens", "16"),
            ("input_tokens", "8"),
            ("output_tokens", "25"),
            ("output_tokens", "40"),
        ])
    );
    assert!(
        first.iter().all(|event| event.timestamp % 3_600 == 0 && event.payload.subject == "ada")
    );

    // What is replaced follows as a correction; nothing that was written changes.
    serve_and_settle(vec![left("c", "metered", 30)]).await;
    let later = events();
    assert_eq!(later[..first.len()], first[..]);
    let corrections = named(&[("cost_nano", "-20000"), ("output_tokens", "-5")]);
    assert_eq!(told(&later[first.len()..]), corrections);
    let mut identifiers: Vec<_> = later.iter().map(|event| &event.identifier).collect();
    identifiers.sort();
    identifiers.dedup();
    assert_eq!(identifiers.len(), later.len());

    let mut command = keeping(data.path(), &terms);
    let day = |offset: &str| {
        let database = rusqlite::Connection::open_in_memory().unwrap();
        let day = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        database.query_row("SELECT date('now', ?1)", [offset], day).unwrap()
    };
    command.args(["usage", "report", "--form=json", "--by=plan"]);
    command.args(["--from", &day("-4 days"), "--to", &day("+2 days")]);
    let (exit, output, error) = run(command);
    assert_eq!(exit, Some(0), "{error}");
    let report: Report = serde_json::from_str(&output).unwrap();
    let rows: Vec<_> =
        report.rows.iter().map(|row| (row.plan.as_deref().unwrap(), row.calls)).collect();
    assert_eq!(rows, [("free", 1), ("metered", 4)]);
    let mut command = keeping(data.path(), &terms);
    command.args(["usage", "report", "--by=week"]);
    let (exit, _, error) = run(command);
    assert_eq!(exit, Some(1));
    assert!(error.contains("--by: expected day, subject, org"), "{error}");
}

#[test]
fn a_trace_is_sealed_with_the_key_of_assertions() {
    let gate = Gate::new(1);
    let keys = [GateKey::parse(&gate.public()).unwrap()];
    let sealed = gate.seal(TYP, &settlement("a", call("ada", "free")));
    let read = kombi_exchange::assertion::signed::<Settlement>(&keys, TYP, &sealed).unwrap();
    assert_eq!(read.request_id, "a");
    let other = kombi_exchange::assertion::signed::<Settlement>(&keys, "jwt", &sealed);
    assert!(other.is_err());
}
