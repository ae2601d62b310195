use super::*;
use kombi_spec::code::Code;
use serde_json::{Value, json};

const GENERAL: &str = "urn:zitadel:iam:org:project:roles";
const OF_7: &str = "urn:zitadel:iam:org:project:7:roles";
const OF_8: &str = "urn:zitadel:iam:org:project:8:roles";

fn of_project(id: &str) -> RoleSource {
    RoleSource::Zitadel { project: Some(id.to_owned()) }
}

fn read(claims: &Value, source: &RoleSource) -> Grants {
    Grants::read(claims.as_object().unwrap(), source)
}

fn names(claims: &Value, source: &RoleSource) -> Vec<String> {
    read(claims, source).names().map(str::to_owned).collect()
}

fn demand(any_of: &[&str], all_of: &[&str], hierarchy: &Hierarchy) -> Demand {
    let needs = |texts: &[&str]| {
        texts.iter().map(|text| Need::parse(text, hierarchy).unwrap()).collect::<Vec<_>>()
    };
    Demand { any_of: needs(any_of), all_of: needs(all_of) }
}

fn rules(any_of: &[&str], all_of: &[&str]) -> RoleRules {
    let general = Some(demand(any_of, all_of, &Hierarchy::default()));
    RoleRules { general, by_method: [].into() }
}

fn granted(roles: &[&str]) -> Grants {
    roles.iter().map(ToString::to_string).collect()
}

fn verdict(rules: &RoleRules, method: &str, grants: &Grants) -> Result<(), Code> {
    rules.check(method, grants).map_err(|refusal| refusal.code)
}

#[test]
fn roles_are_read_from_objects_and_arrays() {
    for claim in [
        json!({"admin:tools": {"1": "a.example"}, "user.x": {"2": "b.example"}}),
        json!(["admin:tools", "user.x"]),
        json!([{"admin:tools": {"1": "a.example"}}, {"user.x": {"2": "b.example"}}]),
        json!([{"admin:tools": {"1": "a.example"}}, "user.x", "user.x"]),
    ] {
        let expected = ["admin:tools", "user.x"];
        let general = RoleSource::Zitadel { project: None };
        assert_eq!(names(&json!({ GENERAL: claim }), &general), expected);
        assert_eq!(names(&json!({ OF_7: claim }), &of_project("7")), expected);
        let source = RoleSource::Claim("groups.v1".to_owned());
        assert_eq!(names(&json!({"groups.v1": claim}), &source), expected);
    }
}

#[test]
fn a_role_is_granted_by_its_organisations() {
    let claims = json!({GENERAL: {"admin": {"1": "a.example", "2": "b.example"}}});
    let grants = read(&claims, &RoleSource::Zitadel { project: None });
    assert!(grants.hold("admin", None) && grants.hold("admin", Some("2")));
    assert!(!grants.hold("admin", Some("3")) && !grants.hold("admin", Some("b.example")));
    let claims = json!({GENERAL: ["admin"]});
    let grants = read(&claims, &RoleSource::Zitadel { project: None });
    assert!(grants.hold("admin", None) && !grants.hold("admin", Some("1")));
}

#[test]
fn a_projects_own_claim_is_the_whole_truth_about_its_roles() {
    let claims = json!({GENERAL: ["admin"], OF_7: ["user"]});
    assert_eq!(names(&claims, &of_project("7")), ["user"]);
    assert_eq!(names(&claims, &RoleSource::Zitadel { project: None }), ["admin"]);
    let emptied = json!({GENERAL: ["admin"], OF_7: {}});
    assert!(names(&emptied, &of_project("7")).is_empty());
}

#[test]
fn roles_of_the_clients_own_project_are_none_of_ours() {
    // Asked for by a client of project 7, for the audience of project 8.
    let claims = json!({GENERAL: ["admin"], OF_7: ["admin"]});
    assert!(!read(&claims, &of_project("8")).asserted());
    let claims = json!({GENERAL: ["admin"], OF_7: ["admin"], OF_8: ["user"]});
    assert_eq!(names(&claims, &of_project("8")), ["user"]);
}

#[test]
fn the_general_claim_counts_where_no_project_has_its_own() {
    for claims in [json!({GENERAL: ["admin"]}), json!({GENERAL: ["admin"], OF_7: null})] {
        assert_eq!(names(&claims, &of_project("7")), ["admin"]);
    }
}

#[test]
fn a_configured_claim_is_the_only_one_read() {
    let source = RoleSource::Claim("groups".to_owned());
    assert!(!read(&json!({GENERAL: ["admin"]}), &source).asserted());
}

#[test]
fn claims_of_another_shape_grant_nothing() {
    for claim in [
        json!("admin"),
        json!(1),
        json!(true),
        json!({}),
        json!([]),
        json!([["admin"], {"admin": {}}, null, "", {"": {"1": "a.example"}}]),
        json!({"a": {}, "b": null, "c": "x", "d": true, "e": ["1"], "f": {"": "a.example"}}),
        json!({"admin": {"1": null, "2": {"x": "y"}, "3": ["a.example"]}}),
    ] {
        let grants = read(&json!({ GENERAL: claim }), &RoleSource::Zitadel { project: None });
        assert_eq!(grants.names().count(), 0, "{claim}");
        assert!(grants.asserted());
    }
}

#[test]
fn no_claim_or_a_null_one_asserts_nothing() {
    for claims in [json!({}), json!({GENERAL: null}), json!({OF_7: null, GENERAL: null})] {
        assert!(!read(&claims, &of_project("7")).asserted(), "{claims}");
    }
}

#[test]
fn one_of_any_and_each_of_all_are_needed() {
    let cases = [
        (&["a", "b"][..], &[][..], &["b"][..], true),
        (&["a", "b"], &[], &["c"], false),
        (&["a"], &[], &["A"], false),
        (&["a"], &[], &["a "], false),
        (&[], &["a", "b"], &["a", "b", "c"], true),
        (&[], &["a", "b"], &["a"], false),
        (&["a", "b"], &["c"], &["a", "c"], true),
        (&["a", "b"], &["c"], &["c"], false),
        (&["a", "b"], &["c"], &["a", "b"], false),
        (&["a.b:c"], &[], &["a.b:c"], true),
        (&["a.b:c"], &[], &["a"], false),
    ];
    for (any_of, all_of, roles, passes) in cases {
        let verdict = verdict(&rules(any_of, all_of), "GET", &granted(roles));
        let expected = if passes { Ok(()) } else { Err(Code::RoleMissing) };
        assert_eq!(verdict, expected, "{any_of:?} {all_of:?} {roles:?}");
    }
}

#[test]
fn a_user_is_told_which_roles_are_needed() {
    let detail = |roles| rules(&["a", "b@1"], &["c"]).check("GET", &roles).unwrap_err().detail;
    assert!(detail(granted(&["x"])).starts_with("all of the roles c and one of the roles a, b@1"));
    assert!(detail(granted(&["c"])).starts_with("one of the roles a, b@1 needed"));
}

#[test]
fn a_token_without_roles_claim_is_told_apart_from_one_without_the_role() {
    let rules = rules(&["a"], &[]);
    assert_eq!(verdict(&rules, "GET", &Grants::default()), Err(Code::RolesNotAsserted));
    assert_eq!(verdict(&rules, "GET", &granted(&[])), Err(Code::RoleMissing));
}

#[test]
fn a_role_may_be_needed_from_one_organisation() {
    let grants = read(
        &json!({GENERAL: {"admin": {"1": "a.example"}, "user@x": {"2": "b.example"}}}),
        &RoleSource::Zitadel { project: None },
    );
    for (need, passes) in [
        ("admin@1", true),
        ("admin@2", false),
        ("admin@a.example", false),
        ("user@x@2", true),
        ("user@x@1", false),
        ("user@x", false),
    ] {
        assert_eq!(verdict(&rules(&[need], &[]), "GET", &grants).is_ok(), passes, "{need}");
    }
    for text in ["", "@", "a@", "@1"] {
        assert!(Need::parse(text, &Hierarchy::default()).is_err(), "{text}");
    }
}

#[test]
fn a_method_may_have_a_demand_of_its_own() {
    let own = |role| demand(&[role], &[], &Hierarchy::default());
    let by_method = [("GET".to_owned(), own("read")), ("DELETE".to_owned(), own("admin"))];
    let mut rules = RoleRules { general: Some(own("write")), by_method: by_method.into() };
    for (method, role) in [
        ("GET", "read"),
        ("HEAD", "read"),
        ("DELETE", "admin"),
        ("POST", "write"),
        ("get", "write"),
    ] {
        for other in ["read", "admin", "write"] {
            let passes = verdict(&rules, method, &granted(&[other])).is_ok();
            assert_eq!(passes, other == role, "{method} {other}");
        }
    }
    rules.by_method.insert("HEAD".to_owned(), own("head"));
    assert!(verdict(&rules, "HEAD", &granted(&["head"])).is_ok());
    rules.general = None;
    let everything = granted(&["read", "admin", "write", "head"]);
    for method in ["POST", "PATCH", "get", ""] {
        assert_eq!(verdict(&rules, method, &everything), Err(Code::RoleMissing), "{method}");
    }
}

#[test]
fn a_role_stands_for_those_it_implies_however_far_down() {
    let implies = [("super", &["tools", "billing"][..]), ("tools", &["user"]), ("x", &["y"])];
    let hierarchy = Hierarchy::new(
        implies.map(|(role, l)| (role.to_owned(), l.iter().map(ToString::to_string).collect())),
    );
    for (held, needed, passes) in [
        ("super", "user", true),
        ("super", "billing", true),
        ("tools", "user", true),
        ("user", "tools", false),
        ("tools", "billing", false),
        ("x", "user", false),
    ] {
        let general = Some(demand(&[], &[needed], &hierarchy));
        let rules = RoleRules { general, by_method: [].into() };
        assert_eq!(verdict(&rules, "GET", &granted(&[held])).is_ok(), passes, "{held} {needed}");
    }
}

#[test]
fn an_implied_role_comes_from_the_same_organisation() {
    let hierarchy = Hierarchy::new([("super".to_owned(), vec!["tools".to_owned()])]);
    let claims = json!({GENERAL: {"super": {"1": "a.example"}}});
    let grants = read(&claims, &RoleSource::Zitadel { project: None });
    for (need, passes) in [("tools@1", true), ("tools@2", false)] {
        let general = Some(demand(&[need], &[], &hierarchy));
        let rules = RoleRules { general, by_method: [].into() };
        assert_eq!(verdict(&rules, "GET", &grants).is_ok(), passes, "{need}");
    }
}

#[test]
fn roles_that_imply_each_other_in_a_circle_end() {
    let implies = [("a", "b"), ("b", "c"), ("c", "a"), ("d", "d")];
    let hierarchy =
        Hierarchy::new(implies.map(|(role, other)| (role.to_owned(), vec![other.to_owned()])));
    let circle: Vec<String> = hierarchy.as_good_as("b").into_iter().collect();
    assert_eq!(circle, ["a", "b", "c"]);
    assert_eq!(hierarchy.as_good_as("d").len(), 1);
}
