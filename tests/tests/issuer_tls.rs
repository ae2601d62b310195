//! The issuer's keys are taken over TLS only from the issuer itself.

// A failure is what a test is for.
#![allow(clippy::unwrap_used)]

use kombi_spec::code::Code;
use stack::stack::{Certificate, Options, Stack};

async fn answered(certificate: Certificate) -> (u16, Option<Code>) {
    let options = Options { issuer_tls: Some(certificate), ..Options::default() };
    let stack = Stack::start(options).await.unwrap();
    assert!(stack.issuer.url().starts_with("https://localhost:"));
    let token = stack.issuer.token("ada").await.unwrap();
    let answer = stack.get_as(&token, "/user").await.unwrap();
    assert_eq!(
        stack.issuer.key_set_requests().await.unwrap() > 0,
        certificate == Certificate::Trusted,
        "whether the issuer was asked for its keys"
    );
    (answer.status, answer.code())
}

#[tokio::test]
async fn keys_of_an_issuer_whose_authority_is_trusted_verify_its_tokens() {
    assert_eq!(answered(Certificate::Trusted).await, (200, None));
}

#[tokio::test]
async fn keys_of_a_server_with_an_unknown_certificate_are_not_even_asked_for() {
    assert_eq!(answered(Certificate::Unknown).await, (503, Some(Code::KeysUnavailable)));
}
