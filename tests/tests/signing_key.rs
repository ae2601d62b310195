//! The gate's signing key is replaced as the README says, and nobody is dropped.

// A failure is what a test is for; routes are looked up by position.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use futures_util::future::join_all;
use kombi_spec::code::Code;
use serde_json::{Value, json};
use stack::{
    routes,
    stack::{HOMELAB, Instance, Options, Stack, WayIn},
};

const WORKSHOP: Instance =
    Instance { id: "workshop", owner: "ada", members: &["grace"], way_in: WayIn::Hook };

/// The key pair of RFC 8037 appendix A.
const NEXT_PRIVATE: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const NEXT_PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

/// What a fleet of gateways looks like in the middle of a rotation: logins into the workshop are
/// signed with the next key already.
fn amend(declaration: &mut Value) {
    let session = routes::named(declaration, "sso-session").unwrap();
    let mut workshop = routes::like(session, "sso-session-workshop");
    session["paths"] = json!(["~/sso/instances/homelab/session$"]);
    workshop["paths"] = json!(["~/sso/instances/workshop/session$"]);
    workshop["plugins"][0]["config"]["assertion"]["signing_key"] = json!(NEXT_PRIVATE);
    declaration["services"][1]["routes"].as_array_mut().unwrap().push(workshop);
}

/// Ten logins into each instance at once: what all of those into one instance were answered.
async fn log_in(stack: &Stack, token: &str) -> [(u16, Option<Code>); 2] {
    let answers = join_all((0..20).map(|n| {
        let instance = if n % 2 == 0 { HOMELAB.id } else { WORKSHOP.id };
        stack.log_in(token, instance)
    }))
    .await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    [0, 1].map(|instance| {
        let mut of_one = answers.iter().skip(instance).step_by(2);
        let first = of_one.next().unwrap();
        let first = (first.status, first.code());
        for answer in of_one {
            assert_eq!((answer.status, answer.code()), first, "{}", answer.summary());
        }
        first
    })
}

#[tokio::test]
async fn while_the_exchange_knows_both_keys_either_signs_and_a_key_it_does_not_know_opens_nothing()
{
    let options =
        Options { instances: &[HOMELAB, WORKSHOP], amend: Some(amend), ..Options::default() };
    let mut stack = Stack::start(options).await.unwrap();
    let token = stack.issuer.token("ada").await.unwrap();
    let (entered, refused) = ((200, None), (401, Some(Code::AssertionInvalid)));
    let old = stack.exchange().unwrap().assertion_key();
    assert_eq!(log_in(&stack, &token).await, [entered, refused], "before");
    for (trusted, expected) in [
        (vec![old.clone(), NEXT_PUBLIC.to_owned()], [entered, entered]),
        (vec![NEXT_PUBLIC.to_owned(), old], [entered, entered]),
        (vec![NEXT_PUBLIC.to_owned()], [refused, entered]),
    ] {
        stack.exchange().unwrap().restart_trusting(trusted.clone()).await.unwrap();
        assert_eq!(log_in(&stack, &token).await, expected, "{trusted:?}");
    }
}
