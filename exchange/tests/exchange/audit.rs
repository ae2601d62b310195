//! The audit: one record for what anybody did or was refused, and nothing to be done about it.

use std::path::Path;

use kombi_exchange::address::Reach;
use serde_json::Value;

use crate::{
    binary::{Serving, program, run},
    database,
    exchange::{Exchange, client},
    gate::Gate,
    instance::FakeInstance,
    ledger::{Books, Terms},
};

/// `kombi-exchange audit …` on the directory `data`.
fn audit(data: &Path, arguments: &str) -> (Option<i32>, String, String) {
    let mut command = program(data);
    command.arg("audit").args(arguments.split(' '));
    run(command)
}

/// An error unless the audit is whole.
pub(crate) fn whole(data: &Path) {
    let (exit, said, error) = audit(data, "verify");
    assert_eq!(exit, Some(0), "{said} {error}");
}

/// The records as they are exported.
fn records(data: &Path) -> Vec<Value> {
    let (exit, printed, error) = audit(data, "export --form jsonl");
    assert_eq!(exit, Some(0), "{error}");
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The columns of the records that say what happened, as they are kept.
pub(crate) fn kept(data: &Path) -> Vec<String> {
    let select = "SELECT concat_ws(' ', actor_kind, actor, action, instance, subject, detail,
                  reason, outcome) FROM audit ORDER BY seq";
    database::with(data, |connection| connection.query_all(select, &[], |row| row.get(0))).unwrap()
}

#[tokio::test]
async fn every_login_link_and_refusal_is_one_record() {
    let exchange = Exchange::start().await;
    let instance = FakeInstance::honest().await;
    exchange.register("lab", &instance.url(), Reach::Private).await;
    exchange.login("owner", "lab").await;
    exchange.login("owner", "lab").await;
    exchange.login("stranger", "lab").await;
    exchange.present("not.an.assertion", "lab").await;
    let url = instance.url();
    let denied = "the instance is not among those that you may enter";
    let unknown = "the assertion is refused: it is not a well-formed JWT with a known algorithm";
    assert_eq!(
        kept(exchange.data.path()),
        [
            &*format!("operator  instance_add lab owner {url}/ by hook  ok"),
            "person owner link lab owner r-owner  ok",
            "person owner login lab owner found  ok",
            "person owner login lab owner found  ok",
            &*format!("person stranger login lab stranger {denied}  instance_forbidden"),
            &*format!("stranger  login lab  {unknown}  assertion_invalid"),
        ]
    );
}

#[tokio::test]
async fn what_an_admin_reads_is_a_record_and_what_the_gate_asks_for_itself_is_none() {
    let terms = Terms::write();
    let exchange = Exchange::start_with(|config| config.usage = Some(terms.settings())).await;
    let books = Books::of(exchange.addresses.public);
    books.report(("root", &["admin:billing"]), "/admin/usage?subject=ada", None).await;
    books.report(("ada", &["user"]), "/admin/usage", None).await;
    books.report(("ada", &["user"]), "/me/usage", None).await;
    books.settle(vec![crate::ledger::settlement("r1", crate::ledger::call("ada", "free"))]).await;
    let kept = kept(exchange.data.path());
    assert_eq!(kept.len(), 2, "{kept:#?}");
    assert!(kept[0].starts_with("person root usage_read  ada 20"), "{kept:#?}");
    assert!(kept[1].starts_with("person ada usage_read  ada "), "{kept:#?}");
    assert!(kept[1].ends_with(" role_missing"), "{kept:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_in_the_audit_after_a_crash() {
    let data = tempfile::tempdir().unwrap();
    let instance = FakeInstance::honest().await;
    let mut add = program(data.path());
    add.args(["instance", "add", "--id", "lab", "--owner", "owner", "--allow-private", "--url"]);
    add.arg(instance.url());
    assert_eq!(run(add).0, Some(0));
    for round in 1..=5 {
        let serving = Serving::start(data.path());
        for sub in ["owner", "stranger"] {
            let url = format!("http://{}/sso/instances/lab/session", serving.listen);
            let assertion = Gate::new(1).assertion(sub, "lab");
            let request = client().post(url).header(kombi_spec::header::ASSERTION, assertion);
            request.send().await.unwrap();
        }
        serving.kill();
        let records = records(data.path());
        let of = |outcome: &str| {
            let login = |record: &&Value| record["action"] == "login";
            records.iter().filter(login).filter(|record| record["outcome"] == outcome).count()
        };
        assert_eq!((of("ok"), of("instance_forbidden")), (round, round));
        assert_eq!(audit(data.path(), "verify").0, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_and_the_command_line_write_one_chain() {
    let exchange = Exchange::start().await;
    let instance = FakeInstance::honest().await;
    exchange.register("lab", &instance.url(), Reach::Private).await;
    let data = exchange.data.path().to_owned();
    let beside = std::thread::spawn(move || {
        for n in 0..10 {
            let mut add = program(&data);
            add.args(["instance", "add", "--owner=o", "--url=https://a.example"]);
            add.arg(format!("--id=b{n}"));
            assert_eq!(run(add).0, Some(0));
        }
    });
    let logins = (0..200).map(|n| {
        let sub = if n % 4 == 0 { "stranger" } else { "member" };
        exchange.login(sub, "lab")
    });
    let answers = futures_util::future::join_all(logins).await;
    beside.join().unwrap();
    let entered = answers.iter().filter(|answer| answer.status() == 200).count();
    let records = records(exchange.data.path());
    let logins = records.iter().filter(|record| record["action"] == "login");
    assert_eq!(logins.clone().count(), 200);
    assert_eq!(logins.filter(|record| record["outcome"] == "ok").count(), entered);
    let links = records.iter().filter(|record| record["action"] == "link").count();
    assert_eq!(links, 1, "whoever came first was linked");
    let (exit, said, error) = audit(exchange.data.path(), "verify");
    assert_eq!(exit, Some(0), "{error}");
    assert!(said.starts_with("212 records, each as it was written. "), "{said}");
}

#[test]
fn the_command_line_verifies_exports_and_says_what_is_broken() {
    let data = tempfile::tempdir().unwrap();
    let instance = |arguments: &str| {
        let mut command = program(data.path());
        command.arg("instance").args(arguments.split(' '));
        assert_eq!(run(command).0, Some(0), "{arguments}");
    };
    instance("add --id lab --url https://lab.example --owner 271828182845904523");
    let (_, said, _) = audit(data.path(), "verify");
    let anchor = said.trim().rsplit(' ').next().unwrap().to_owned();
    instance("rotate-key --id lab");
    instance("remove --id lab");

    let records = records(data.path());
    let actions: Vec<_> = records.iter().map(|record| record["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["instance_add", "instance_rotate_key", "instance_remove"]);
    assert_eq!(records[0]["subject"].as_str().unwrap().len(), "person-".len() + 32);
    assert_eq!(records[1]["request_id"].as_str().unwrap().len(), 32);
    let (_, csv, _) = audit(data.path(), "export --after 1");
    assert_eq!(csv.lines().count(), 3, "a line of names and two records: {csv}");
    assert!(csv.starts_with("seq,at,actor_kind,"), "{csv}");
    for exported in [format!("{records:?}"), csv] {
        assert!(!exported.contains("271828182845904523"), "{exported}");
    }

    let with_anchor = format!("verify --anchor {anchor}");
    assert_eq!(audit(data.path(), &with_anchor).0, Some(0));
    assert_eq!(audit(data.path(), "verify --anchor 1:ab").0, Some(1));
    let other = format!("verify --anchor 2:{}", anchor.split_once(':').unwrap().1);
    let (exit, _, error) = audit(data.path(), &other);
    assert_eq!(exit, Some(1));
    assert!(error.contains("broken at record 2: it is another one than"), "{error}");

    assert!(database::change(data.path(), "DELETE FROM audit").is_err());
    let table = if database::on_postgres() { " ON audit" } else { "" };
    database::change(data.path(), &format!("DROP TRIGGER audit_is_not_changed{table}")).unwrap();
    let change = "UPDATE audit SET reason = 'x' WHERE seq = 2";
    assert_eq!(database::change(data.path(), change).unwrap(), 1);
    let (exit, said, error) = audit(data.path(), "verify");
    assert_eq!((exit, &*said), (Some(1), ""));
    let sentence = "kombi-exchange: the audit is broken at record 2: it is not what was written";
    assert_eq!(error.trim(), sentence);
}
