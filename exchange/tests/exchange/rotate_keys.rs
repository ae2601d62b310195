//! Another seal key in the place of the one that the database was begun with.

use std::path::Path;

use kombi_exchange::{
    access::{Access, Superuser},
    address::Reach,
    audit::Act,
    config::{NEW_SEAL_KEY, SEAL_KEY},
    instance::{InstanceId, InstanceUrl, Subject},
    registry::{NewInstance, Registry, RegistryError, Resealed, reseal},
    seal::Seal,
    time::UnixTime,
};
use kombi_spec::header;

use crate::{
    binary::{Serving, program, run},
    database,
    exchange::client,
    gate::Gate,
    instance::FakeInstance,
};

const NEW: &str = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg";
const THIRD: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";

/// `kombi-exchange rotate-keys` from the key of [`program`], or from this one.
fn rotate(data: &Path, from: Option<&str>, to: &str) -> (Option<i32>, String, String) {
    let mut command = program(data);
    command.arg("rotate-keys").env(NEW_SEAL_KEY, to);
    if let Some(from) = from {
        command.env(SEAL_KEY, from);
    }
    run(command)
}

fn with_key(data: &Path, key: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = program(data);
    command.env(SEAL_KEY, key).args(arguments);
    run(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_seal_key_opens_what_the_old_one_did_and_the_old_one_nothing_any_more() {
    let (data, instance) = (tempfile::tempdir().unwrap(), FakeInstance::honest().await);
    let data = data.path();
    let mut add = program(data);
    add.args(["instance", "add", "--id", "lab", "--owner", "owner", "--allow-private", "--url"]);
    add.arg(instance.url());
    assert_eq!(run(add).0, Some(0));

    let serving = Serving::start(data);
    let (exit, _, error) = rotate(data, None, NEW);
    assert_eq!(exit, Some(1));
    assert!(error.contains("in use by another `kombi-exchange serve`"), "{error}");
    serving.kill();
    let (exit, _, error) = rotate(data, Some(THIRD), NEW);
    assert_eq!(exit, Some(2));
    assert!(error.contains("KOMBI_EXCHANGE_SEAL_KEY: expected the key that"), "{error}");
    let (exit, _, error) = rotate(data, None, "AAAA");
    assert_eq!(exit, Some(2));
    assert!(error.contains("KOMBI_EXCHANGE_NEW_SEAL_KEY: expected 32 bytes"), "{error}");
    // Nothing was changed so far.
    Serving::start(data).kill();

    let (exit, said, error) = rotate(data, None, NEW);
    assert_eq!(exit, Some(0), "{error}");
    assert!(said.starts_with("What opens 1 instances, and the audit's key, is sealed"), "{said}");
    assert!(!said.contains(NEW), "{said}");
    // Again, and by somebody who has the old key no more.
    for from in [None, Some(NEW), Some(THIRD)] {
        let (exit, said, _) = rotate(data, from, NEW);
        assert_eq!(exit, Some(0));
        assert!(said.contains("already, and nothing was changed"), "{said}");
    }

    let mut old = program(data);
    old.arg("serve");
    let (exit, _, error) = run(old);
    assert_eq!(exit, Some(2));
    assert!(error.contains("KOMBI_EXCHANGE_SEAL_KEY: expected the key that"), "{error}");
    let mut new = program(data);
    new.env(SEAL_KEY, NEW);
    let serving = Serving::start_with(new);
    let assertion = Gate::new(1).assertion("owner", "lab");
    let url = format!("http://{}/sso/instances/lab/session", serving.listen);
    let login = client().post(url).header(header::ASSERTION, assertion).send().await.unwrap();
    assert_eq!(login.status(), 200);
    serving.kill();
    let (exit, _, error) = with_key(data, NEW, &["audit", "verify"]);
    assert_eq!(exit, Some(0), "{error}");
    let kept = crate::audit::kept(data);
    let rotated: Vec<_> = kept.iter().filter(|line| line.contains(" seal_rotate ")).collect();
    assert_eq!(rotated, ["operator  seal_rotate   1 instances  ok"], "{kept:#?}");
}

#[test]
fn a_database_that_was_never_used_has_nothing_to_seal() {
    let data = tempfile::tempdir().unwrap();
    let (exit, _, error) = rotate(data.path(), None, NEW);
    assert_eq!(exit, Some(1));
    assert!(error.contains("nothing in it is sealed yet"), "{error}");
}

fn superuser() -> Access {
    Access::Superuser(Superuser { email: "a@b.c".to_owned(), password: "secret".to_owned() })
}

async fn add(registry: &Registry, id: &str) -> Result<(), RegistryError> {
    let new = NewInstance {
        id: InstanceId::parse(id).unwrap(),
        url: InstanceUrl::parse("https://lab.example", Reach::Public).unwrap(),
        owner: Subject::parse("owner").unwrap(),
        members: [].into(),
        roles: [].into(),
        page: None,
        access: superuser(),
    };
    registry.add(new, &Act::at_the_command_line(), UnixTime::now()).await
}

#[tokio::test]
async fn a_superusers_password_is_sealed_anew_and_whoever_began_before_seals_nothing_with_the_old()
{
    let data = tempfile::tempdir().unwrap();
    let store = database::of(data.path()).open().unwrap();
    let seal = |byte| Seal::new(&[byte; 32]).unwrap();
    let before = Registry::open(store.clone(), seal(1)).await.unwrap();
    let id = InstanceId::parse("lab").unwrap();
    add(&before, "lab").await.unwrap();
    let (act, now) = (Act::at_the_command_line(), UnixTime::now());
    let rotated = reseal(&store, (seal(1), seal(2)), &act, now).await.unwrap();
    assert_eq!(rotated, Resealed::Anew(1));

    let after = Registry::open(store.clone(), seal(2)).await.unwrap();
    assert_eq!(after.find(&id).await.unwrap().unwrap().access, superuser());
    assert!(matches!(add(&before, "late").await, Err(RegistryError::OtherSeal)));
    let replaced = before.replace_access(&id, &superuser(), &act, now).await;
    assert!(matches!(replaced, Err(RegistryError::OtherSeal)));
    assert_eq!(after.find(&id).await.unwrap().unwrap().access, superuser());
    add(&after, "late").await.unwrap();
}

#[tokio::test]
async fn what_does_not_open_stops_it_and_nothing_is_changed() {
    let data = tempfile::tempdir().unwrap();
    let store = database::of(data.path()).open().unwrap();
    let seal = |byte| Seal::new(&[byte; 32]).unwrap();
    let registry = Registry::open(store.clone(), seal(1)).await.unwrap();
    for id in ["a", "b"] {
        add(&registry, id).await.unwrap();
    }
    let damage = "UPDATE instances SET sealed_key = (SELECT sealed FROM seal_proof) WHERE id = 'b'";
    assert_eq!(database::change(data.path(), damage).unwrap(), 1);
    let (act, now) = (Act::at_the_command_line(), UnixTime::now());
    let stopped = reseal(&store, (seal(1), seal(2)), &act, now).await.unwrap_err().to_string();
    assert!(stopped.contains("the row of the instance b cannot be read"), "{stopped}");
    let id = InstanceId::parse("a").unwrap();
    assert_eq!(registry.find(&id).await.unwrap().unwrap().access, superuser());
    Registry::open(store, seal(1)).await.unwrap();
}
