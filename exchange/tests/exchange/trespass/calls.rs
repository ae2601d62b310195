//! What is asked of the exchange, and how it must answer.

use kombi_spec::{assertion::Assertion, header};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::{
    Session, World,
    model::{Entrant, Lab, Visitor, Who},
};
use crate::{
    entrants::granted,
    exchange::page_of,
    gate,
    handoff::{CHALLENGE, VERIFIER},
    revocations::until_none_is_pending,
};

impl World {
    /// Asks for what is at `path`, with an assertion for what is at `meant`.
    pub(super) async fn ask(
        &mut self,
        visitor: &Visitor,
        meant: &str,
        path: &str,
        body: String,
    ) -> Response {
        let mut claims: Assertion = gate::claims(visitor.who.as_str(), "");
        claims.htp = Some(meant.to_owned());
        claims.granted_by = granted(&visitor.roles);
        claims.roles = claims.granted_by.keys().cloned().collect();
        let assertion = self.exchange.gate.sign(&claims);
        let url = format!("http://{}{path}", self.exchange.addresses.public);
        let request = self.exchange.client.post(url).body(body);
        let answer = request.header(header::ASSERTION, &assertion).send().await.unwrap();
        if meant == path {
            self.assertions.push(assertion);
        }
        answer
    }

    pub(super) async fn ask_for_code(
        &mut self,
        visitor: &Visitor,
        lab: Lab,
        page: Lab,
    ) -> Response {
        let path = format!("/sso/instances/{}/code", lab.as_str());
        let body = json!({
            "redirect_uri": page_of(page.as_str()), "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        });
        self.ask(visitor, &path, &path, body.to_string()).await
    }

    pub(super) async fn redeem(
        &mut self,
        nth: usize,
        lab: Lab,
        verifier: bool,
    ) -> Option<(Visitor, Lab)> {
        let page = page_of(lab.as_str());
        let fields = [
            ("code", &*self.codes[nth]),
            ("code_verifier", if verifier { VERIFIER } else { CHALLENGE }),
            ("redirect_uri", &page),
        ];
        let origin = format!("https://{}.example", lab.as_str());
        let answer = self.exchange.redeem_with(&fields, Some(&origin)).await;
        let expected = self.model.redeem(nth, lab, verifier).map(|visitor| (visitor, lab));
        // One that opened a session before ends it.
        until_none_is_pending(&self.exchange).await;
        self.session(answer, expected).await
    }

    /// `expected`, who should have got a session in `answer`, or nobody.
    pub(super) async fn session(
        &mut self,
        answer: Response,
        expected: Option<(Visitor, Lab)>,
    ) -> Option<(Visitor, Lab)> {
        assert_eq!(answer.status() == 200, expected.is_some(), "{}", answer.status());
        let (visitor, lab) = expected.clone()?;
        let session = said(answer).await;
        let user = session["record"]["id"].as_str();
        assert_eq!(user, self.homelab(lab).lock().unwrap().user(visitor.who.as_str()));
        let token = session["token"].as_str().unwrap().to_owned();
        self.sessions.push(Session { lab, visitor, token });
        expected
    }

    /// Has something done about a person in an instance, which lets nobody in.
    pub(super) async fn account(
        &self,
        lab: Lab,
        who: Who,
        method: Method,
        deed: &str,
        body: Value,
    ) {
        let path = format!("/admin/instances/{}/users/{}/{deed}", lab.as_str(), who.as_str());
        let answer = self.admin(method, &path, body).await;
        assert!(self.model.is_registered(lab) || answer.status() == 404, "{}", answer.status());
    }

    pub(super) async fn about(&self, who: Who, deed: &str) -> Response {
        let path = format!("/admin/users/{}/{deed}", who.as_str());
        self.admin(Method::POST, &path, json!({"reason": "r"})).await
    }

    pub(super) async fn order(&self, lab: Lab, deed: &str, body: Value) -> Response {
        let path = format!("/admin/instances/{}/{deed}", lab.as_str());
        self.admin(Method::POST, &path, body).await
    }

    pub(super) async fn admin(&self, method: Method, path: &str, body: Value) -> Response {
        self.exchange.admin(&["admin:tools"], method, path, body).await
    }
}

pub(super) fn session_path(lab: Lab) -> String {
    format!("/sso/instances/{}/session", lab.as_str())
}

/// Who is to be let in, or no more, as the API has it.
pub(crate) fn entry(entrant: Entrant) -> Value {
    match entrant {
        Entrant::Member(who) => json!({"member": who.as_str(), "reason": "r"}),
        Entrant::Role((role, organisation)) => {
            json!({"role": format!("{role}@{organisation}"), "reason": "r"})
        }
    }
}

pub(super) async fn said(answer: Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}
