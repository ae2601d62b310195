//! Copies of the database, and the way back.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kombi_exchange::{address::Reach, backup::schedule::Schedule};
use rusqlite::{Connection, types::Value};
use tokio::time::{sleep, timeout};

use crate::{
    binary::{Serving, program, run},
    exchange::Exchange,
    instance::FakeInstance,
};

fn command(data: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = program(data);
    command.args(arguments);
    run(command)
}

/// Every row of every table.
fn rows(database: &Path) -> BTreeMap<String, Vec<String>> {
    let connection = Connection::open(database).unwrap();
    let names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    let mut names = connection.prepare(names).unwrap();
    let names = names.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap);
    let rows = |name: &String| {
        let mut select = connection.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let columns = select.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            (0..columns).map(|n| row.get::<_, Value>(n)).collect::<Result<Vec<_>, _>>()
        };
        let mut rows: Vec<_> =
            select.query_map([], row).unwrap().map(|row| format!("{row:?}")).collect();
        rows.sort();
        rows
    };
    names.map(|name| (name.clone(), rows(&name))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_made_while_people_log_in_has_every_login_before_it_and_is_whole() {
    let exchange = Exchange::start().await;
    let instance = FakeInstance::honest().await;
    exchange.register("lab", &instance.url(), Reach::Private).await;
    let (folder, answered) = (tempfile::tempdir().unwrap(), Arc::new(AtomicUsize::new(0)));
    let logins = async {
        for _ in 0..120 {
            assert_eq!(exchange.login("owner", "lab").await.status(), 200);
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    let copies = async {
        for n in 0..6 {
            while answered.load(Ordering::Relaxed) < n * 20 {
                sleep(Duration::from_millis(1)).await;
            }
            let (data, to) = (exchange.data.path().to_owned(), folder.path().join("copy.db"));
            let before = answered.load(Ordering::Relaxed);
            let copied = tokio::task::spawn_blocking({
                let to = to.clone();
                move || command(&data, &["backup", "--to", to.to_str().unwrap()])
            });
            let (exit, _, error) = copied.await.unwrap();
            assert_eq!(exit, Some(0), "{error}");
            let restored = folder.path().join(format!("restored-{n}"));
            let (exit, _, error) = command(&restored, &["restore", "--from", to.to_str().unwrap()]);
            assert_eq!(exit, Some(0), "{error}");
            let (exit, _, error) = command(&restored, &["audit", "verify"]);
            assert_eq!(exit, Some(0), "{error}");
            let rows = rows(&restored.join("exchange.db"));
            let logins = rows["audit"].iter().filter(|row| row.contains("\"login\"")).count();
            assert!(logins >= before, "{logins} of {before}");
        }
    };
    tokio::join!(logins, copies);

    let to = folder.path().join("copy.db");
    command(exchange.data.path(), &["backup", "--to", to.to_str().unwrap()]);
    assert_eq!(rows(&to), rows(&exchange.data.path().join("exchange.db")));
}

#[test]
fn a_copy_takes_the_databases_place_unless_somebody_serves_from_it() {
    let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let copy = folder.path().join("copy.db");
    let copy = copy.to_str().unwrap();
    let add = |id: &str| {
        let id = format!("--id={id}");
        let add = ["instance", "add", "--owner=o", "--url=https://a.example", &id];
        assert_eq!(command(data.path(), &add).0, Some(0));
    };
    add("one");
    assert_eq!(command(data.path(), &["backup", "--to", copy]).0, Some(0));
    add("two");
    let serving = Serving::start(data.path());
    let (exit, _, error) = command(data.path(), &["restore", "--from", copy]);
    assert_eq!(exit, Some(1));
    assert!(error.contains("in use by another `kombi-exchange serve`"), "{error}");
    assert_eq!(command(data.path(), &["backup", "--to", copy]).0, Some(0), "a copy may be made");
    serving.kill();
    add("three");
    let (exit, said, error) = command(data.path(), &["restore", "--from", copy]);
    assert_eq!(exit, Some(0), "{error}");
    assert!(said.contains("exchange.db.before-"), "{said}");
    let (_, listed, _) = command(data.path(), &["instance", "list"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let (_, audit, _) = command(data.path(), &["audit", "export"]);
    assert!(audit.lines().last().unwrap().contains(",operator,,restored,"), "{audit}");
    Serving::start(data.path()).kill();
    let nothing = folder.path().join("nothing.db");
    let (exit, _, error) = command(data.path(), &["restore", "--from", nothing.to_str().unwrap()]);
    assert_eq!(exit, Some(1));
    assert!(error.contains("nothing.db"), "{error}");
    let (exit, _, error) = command(data.path(), &["backup", "--to", "/dev/null/copy.db"]);
    assert_eq!(exit, Some(1));
    assert!(error.contains("/dev/null/copy.db"), "{error}");
}

#[tokio::test]
async fn copies_are_made_by_themselves_and_old_ones_go() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine.db"), "not a copy").unwrap();
    let exchange = Exchange::start_with(|config| {
        let every = Duration::from_secs(1);
        config.backup = Some(Schedule { folder: folder.path().to_owned(), every, keep: 2 });
    })
    .await;
    let names = || {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("exchange-")).collect();
        names.sort();
        names
    };
    let first = async {
        while names().is_empty() {
            sleep(Duration::from_millis(20)).await;
        }
        names().remove(0)
    };
    let first = timeout(Duration::from_secs(30), first).await.unwrap();
    let gone = async {
        while names().contains(&first) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), gone).await.expect("the oldest goes");
    assert!(folder.path().join("mine.db").exists(), "what is not a copy stays");
    let (_, metrics) = exchange.ops("/metrics").await;
    assert!(!metrics.contains("last_backup_timestamp_seconds 0"), "{metrics}");
}
