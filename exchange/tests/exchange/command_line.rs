//! The command line, and what it says of a wrong configuration.

use kombi_exchange::config;
use serde_json::Value;

use crate::binary::{program, run};

#[test]
fn a_wrong_configuration_is_one_sentence_that_names_the_variable() {
    let data = tempfile::tempdir().unwrap();
    let long = "A".repeat(44);
    for (variable, value, sentence) in [
        (config::LISTEN, "8700", "expected an IP address and a port, like 127.0.0.1:8700, found"),
        (config::OPS_LISTEN, "x:1", "expected an IP address and a port"),
        (config::DATA, "", "expected a directory (or --data), found nothing"),
        (config::DATA, "/dev/null", "expected a directory that can be written to, found /dev/null"),
        (config::ASSERTION_KEYS, "", "expected one or two Ed25519 public keys"),
        (config::ASSERTION_KEYS, "SECRET", "found a first that is not 32 bytes"),
        (config::SEAL_KEY, "", "expected 32 bytes in base64url"),
        (config::SEAL_KEY, "SECRET", "found 6 characters that are not base64url"),
        (config::SEAL_KEY, &long, "found 33 bytes"),
        (config::CLOCK_SKEW_S, "5s", "expected whole seconds from 0 to 60, found \"5s\""),
        (config::INSTANCE_TIMEOUT_MS, "0", "expected whole milliseconds from 50 to 30000"),
        (config::MAX_CONNECTIONS, "many", "expected a number of connections from 1 to 65536"),
        (config::INTROSPECTION_ALLOW_PRIVATE, "yes", "expected true or false, found \"yes\""),
        (config::BACKUP_EVERY_S, "1", "expected whole seconds from 60 to 2678400, found \"1\""),
        (config::BACKUP_KEEP, "0", "expected a number of copies from 1 to 1000"),
        (config::LOG, "kombi=loud", "expected a level, or a list like"),
        (config::LISTEN, "192.0.2.1:1", "expected an address to listen on, found 192.0.2.1:1 ("),
    ] {
        let mut serve = program(data.path());
        serve.arg("serve").env(variable, value);
        let (exit, output, error) = run(serve);
        assert_eq!(exit, Some(2), "{variable}={value}: {error}");
        assert!(error.starts_with(&format!("kombi-exchange: {variable}: ")), "{error}");
        assert!(error.contains(sentence), "{variable}={value}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!error.contains("SECRET") && !error.contains(&long), "{error}");
        assert_eq!(output, "");
    }
}

#[test]
fn another_seal_key_is_noticed_before_it_does_harm() {
    let data = tempfile::tempdir().unwrap();
    let mut add = program(data.path());
    add.args(["instance", "add", "--id=a", "--owner=o", "--url=https://a.example"]);
    assert_eq!(run(add).0, Some(0));
    for arguments in
        [vec!["serve"], vec!["instance", "add", "--id=b", "--owner=o", "--url=https://b.example"]]
    {
        let mut command = program(data.path());
        command.args(arguments).env(config::SEAL_KEY, "A".repeat(43));
        let (exit, _, error) = run(command);
        assert_eq!(exit, Some(2));
        assert!(error.contains("KOMBI_EXCHANGE_SEAL_KEY: expected the key that"), "{error}");
    }
}

#[test]
fn instances_are_added_once_and_listed_without_their_keys() {
    let data = tempfile::tempdir().unwrap();
    let instance = |arguments: &str| {
        let mut command = program(data.path());
        run({
            command.arg("instance").args(arguments.split(' '));
            command
        })
    };
    let add = "add --id lab --url https://lab.example/pb --owner o1 --member m1 --member m2 --role user@7 --json";
    let (exit, added, _) = instance(add);
    assert_eq!(exit, Some(0));
    let added: Value = serde_json::from_str(&added).unwrap();
    let key = added["key"].as_str().unwrap();
    assert_eq!((added["id"].as_str().unwrap(), key.len()), ("lab", 43));
    let (exit, _, error) = instance(add);
    assert_eq!(
        (exit, error.trim()),
        (Some(1), "kombi-exchange: the instance lab is already registered")
    );

    let (_, listed, _) = instance("list --json");
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        listed,
        serde_json::json!([{
            "id": "lab", "url": "https://lab.example/pb", "allow_private": false, "owner": "o1",
            "members": ["m1", "m2"], "roles": ["user@7"], "page": null, "access": "hook",
        }])
    );
    for (arguments, said) in [
        ("admit --id lab --role a@b@8", "The role a@b@8 may enter lab.\n"),
        ("admit --id lab --role a@b@8", "The role a@b@8 could enter lab already.\n"),
        ("admit --id lab --member m3", "The member m3 may enter lab.\n"),
        (
            "dismiss --id lab --member m1",
            "The member m1 may not enter lab; a running exchange ends their sessions there.\n",
        ),
        ("dismiss --id lab --role user@8", "The role user@8 could not enter lab.\n"),
    ] {
        assert_eq!(instance(arguments).1, said, "{arguments}");
    }
    let (_, listed, _) = instance("list");
    assert!(listed.contains("members m2, m3  role a@b@8  role user@7"), "{listed}");

    let (exit, _, _) = instance("page --id lab --page https://lab.example/kombisphere/");
    let (_, listed, _) = instance("list --json");
    assert_eq!(exit, Some(0));
    assert!(listed.contains(r#""page":"https://lab.example/kombisphere/""#), "{listed}");
    let (exit, _, error) = instance("page --id lab --page http://lab.example/");
    assert_eq!(exit, Some(1));
    assert!(error.contains("--page: expected the URL of a page, https"), "{error}");

    let (_, rotated, _) = instance("rotate-key --id lab --json");
    let key = |said: &str| serde_json::from_str::<Value>(said).unwrap()["key"].clone();
    assert_ne!(key(&rotated), added["key"]);
    assert_eq!(key(&rotated).as_str().unwrap().len(), 43);
    let (exit, _, error) = instance("rotate-key --id nowhere");
    assert_eq!(
        (exit, error.trim()),
        (Some(1), "kombi-exchange: no instance nowhere is registered")
    );

    let (_, said, _) = instance("add --id two --url http://10.0.0.1 --owner o --allow-private");
    assert!(said.contains("\nKOMBISPHERE_INSTANCE_ID=two\nKOMBISPHERE_SSO_KEY="), "{said}");
    for (arguments, sentence) in [
        (
            "add --id A --url https://a.example --owner o",
            "--id: expected 1 to 63 of a-z, 0-9 and -",
        ),
        ("admit --id lab --role user", "--role: expected ROLE@ORGANISATION"),
        ("dismiss --id nowhere --member m", "no instance nowhere is registered"),
        ("add --id a --url ftp://a.example --owner o", "--url: expected an http or https URL"),
        ("add --id a --url http://10.0.0.1 --owner o", "(or --allow-private), found 10.0.0.1"),
        ("add --id a --url http://169.254.169.254 --owner o --allow-private", "found 169.254"),
    ] {
        let (exit, _, error) = instance(arguments);
        assert_eq!(exit, Some(1), "{arguments}");
        assert!(error.contains(sentence), "{arguments}: {error}");
    }
}

#[test]
fn new_keys_are_a_pair_and_fit_the_configuration() {
    let data = tempfile::tempdir().unwrap();
    let keygen = |arguments: &[&str]| {
        let mut command = program(data.path());
        command.arg("keygen").args(arguments);
        run(command).1
    };
    let keys: Value = serde_json::from_str(&keygen(&["--json"])).unwrap();
    for name in ["signing_key", "assertion_key", "seal_key"] {
        assert_eq!(keys[name].as_str().unwrap().len(), 43, "{name}");
    }
    let text = keygen(&[]);
    for variable in ["DECK_KOMBI_ASSERTION_KEY", config::ASSERTION_KEYS, config::SEAL_KEY] {
        assert!(text.lines().any(|line| line.starts_with(&format!("{variable}="))), "{text}");
    }
}
