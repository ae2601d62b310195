//! `kombi-exchange kong render`, as an operator runs it.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use crate::binary::{program, run};

const ROUTES: &str = r#"
_format_version: "3.0"
services:
  - name: s
    url: ${{ env "DECK_KOMBI_TEST_URL" }}
    routes:
      - name: r
        paths: [/]
        plugins:
          - name: kombi_gate
            config: {access: public, name: "${{ env "DECK_KOMBI_TEST_KEY" }}"}
"#;

/// Exit code, output and error of rendering `template` in `folder` to the file `to`.
fn render(folder: &Path, template: &str, to: &str, key: &str) -> (Option<i32>, String, String) {
    let file = folder.join("kong.yml");
    fs::write(&file, template).unwrap();
    let mut command = program(folder);
    command.args(["kong", "render"]).arg(&file).arg("--output").arg(to);
    command.env("DECK_KOMBI_TEST_URL", "http://a:1").env("DECK_KOMBI_TEST_KEY", key);
    run(command)
}

#[test]
fn the_rendered_file_is_for_its_owner_alone_and_nothing_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("rendered.yml");
    // One that everybody could read, and what an interrupted run left.
    for left in [to.clone(), folder.path().join("rendered.yml.unfinished")] {
        fs::write(&left, "old").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let rendered = render(folder.path(), ROUTES, to.to_str().unwrap(), "SECRET");
    assert_eq!(rendered, (Some(0), String::new(), String::new()));
    let text = fs::read_to_string(&to).unwrap();
    assert!(text.contains("url: http://a:1") && text.contains("name: \"SECRET\""), "{text}");
    assert_eq!(to.metadata().unwrap().mode() & 0o777, 0o600);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_pipe_gets_what_a_file_would() {
    let folder = tempfile::tempdir().unwrap();
    let (exit, output, error) = render(folder.path(), ROUTES, "-", "SECRET");
    assert_eq!((exit, &*error), (Some(0), ""));
    assert!(output.contains("name: \"SECRET\""), "{output}");
}

#[test]
fn what_cannot_be_rendered_is_one_sentence_and_leaves_the_last_file_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("rendered.yml");
    fs::write(&to, "the last good one").unwrap();
    let open = ROUTES.replace("kombi_gate", "prometheus");
    let unknown = ROUTES.replace("TEST_URL", "TEST_URI");
    for (template, key, sentence) in [
        (
            ROUTES,
            "",
            "kong.yml: it asks for DECK_KOMBI_TEST_KEY, of which the environment has no value",
        ),
        (&*unknown, "SECRET", "kong.yml: it asks for DECK_KOMBI_TEST_URI, of which"),
        (ROUTES, "SECRET\"}", "kong.yml: DECK_KOMBI_TEST_KEY: expected letters, digits and"),
        (&*open, "SECRET", "kong.yml: route r: expected the plugin kombi_gate"),
        ("a: ${{ b }}", "SECRET", "kong.yml: line 1: expected ${{ env \"DECK_NAME\" }}"),
    ] {
        let (exit, output, error) = render(folder.path(), template, to.to_str().unwrap(), key);
        assert_eq!((exit, &*output), (Some(2), ""), "{error}");
        assert!(error.contains(sentence), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!error.contains("SECRET"), "{error}");
        assert_eq!(fs::read_to_string(&to).unwrap(), "the last good one");
    }
    let (exit, _, error) = render(folder.path(), ROUTES, "/nowhere/rendered.yml", "SECRET");
    assert_eq!(exit, Some(1));
    assert!(error.contains("/nowhere/rendered.yml: "), "{error}");
}
