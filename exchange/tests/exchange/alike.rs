//! The same calls, at random, to an exchange on SQLite and to one on PostgreSQL: each is answered
//! alike, and what both keep in the end is alike. `tests/postgres` runs it.

mod answer;
mod kept;
mod step;

use std::sync::{Arc, Mutex};

use kombi_exchange::{
    access::{Access, HookKey},
    address::Reach,
    audit::{self, Act, Verdict},
    database::Database,
    instance::{InstanceId, InstanceUrl, PageUrl, Subject},
    registry::NewInstance,
    time::UnixTime,
};
use kombi_spec::usage::{
    reserve::ReserveRequest,
    settle::{SettleRequest, Settlement, Tokens},
};
use proptest::prelude::*;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::{
    exchange::{Exchange, page_of},
    handoff::{CHALLENGE, VERIFIER},
    instance::FakeInstance,
    ledger::{self, Books, Terms},
    revocations::until_none_is_pending,
    trespass::{
        calls::entry,
        homelab::{Homelab, LOCAL},
        model::{Lab, Who},
    },
};
use answer::{is_one_time, said, without_chance};
use step::{Attempt, Step};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12, max_shrink_iters: 100, ..ProptestConfig::default()
    })]

    #[test]
    #[ignore = "on PostgreSQL: cargo test --test postgres"]
    fn the_same_calls_come_to_the_same_on_sqlite_and_on_postgresql(steps in step::steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut twins = Twins::begin().await;
            for step in &steps {
                twins.take(step).await;
            }
            twins.end().await;
        });
    }
}

/// An exchange with its instances, in the order of [`Lab::BOTH`].
struct Twin {
    exchange: Exchange,
    labs: Vec<(FakeInstance, Arc<Mutex<Homelab>>)>,
}

/// Both, and what was got from them.
struct Twins {
    twins: [Twin; 2],
    terms: Terms,
    /// Opens every instance, of both.
    key: HookKey,
    assertions: Vec<(String, Lab)>,
    codes: Vec<(Lab, [String; 2])>,
}

impl Twin {
    async fn begin(terms: &Terms, key: &HookKey, on_sqlite: bool) -> Self {
        let data = Arc::new(tempfile::tempdir().unwrap());
        let file = || Database::Directory(data.path().to_owned());
        let database = if on_sqlite { file() } else { crate::database::of(data.path()) };
        let usage = Some(terms.settings());
        let exchange = Exchange::start_on(data, database, |config| config.usage = usage).await;
        let mut labs = Vec::new();
        for lab in Lab::BOTH {
            let homelab = Arc::new(Mutex::new(Homelab::new(lab.as_str(), key)));
            labs.push((Homelab::serve(&homelab).await, homelab));
        }
        Self { exchange, labs }
    }

    async fn register(&self, lab: Lab, owner: Who, key: &HookKey) -> bool {
        let (id, url) = (lab.as_str(), self.labs[lab as usize].0.url());
        let new = NewInstance {
            id: InstanceId::parse(id).unwrap(),
            url: InstanceUrl::parse(&url, Reach::Private).unwrap(),
            owner: Subject::parse(owner.as_str()).unwrap(),
            members: [].into(),
            roles: [].into(),
            page: Some(PageUrl::parse(&page_of(id), Reach::Private).unwrap()),
            access: Access::Hook(key.clone()),
        };
        let (registry, act) = (self.exchange.registry().await, Act::at_the_command_line());
        registry.add(new, &act, UnixTime::now()).await.is_ok()
    }

    async fn admin(&self, method: Method, path: &str, body: Value) -> Response {
        self.exchange.admin(&["admin:tools"], method, path, body).await
    }

    fn books(&self) -> Books {
        Books::of(self.exchange.addresses.public)
    }

    /// What it keeps, and whom its instances let in; nothing of where it is.
    async fn in_the_end(&self) -> Vec<String> {
        let registry = self.exchange.registry().await;
        let store = self.exchange.database.open().unwrap();
        let verdict = audit::verify(&store, registry.audit(), None).await.unwrap();
        assert!(matches!(verdict, Verdict::Whole(_)), "{verdict:?}");
        let mut kept = kept::in_it(&self.exchange.database);
        for (instance, homelab) in &self.labs {
            let url = instance.url();
            kept.iter_mut().for_each(|line| *line = line.replace(&url, "URL"));
            kept.extend(homelab.lock().unwrap().let_in.iter().cloned());
        }
        kept
    }
}

impl Twins {
    async fn begin() -> Self {
        let (terms, key) = (Terms::write(), HookKey::random().unwrap());
        let twins = [Twin::begin(&terms, &key, true).await, Twin::begin(&terms, &key, false).await];
        let (assertions, codes) = Default::default();
        let begun = Self { twins, terms, key, assertions, codes };
        begun.register(Lab::First, Who::Ada).await;
        begun.register(Lab::Second, Who::Ben).await;
        begun
    }

    async fn take(&mut self, step: &Step) {
        let why = || json!({"reason": "r"});
        match step {
            Step::Register(lab, owner) => self.register(*lab, *owner).await,
            Step::Remove(lab) => self.order(*lab, "remove", why()).await,
            Step::Admit(lab, entrant) => self.order(*lab, "admit", entry(*entrant)).await,
            Step::Dismiss(lab, entrant) => self.order(*lab, "dismiss", entry(*entrant)).await,
            Step::LogIn(who, lab) => {
                let assertion = self.twins[0].exchange.gate.assertion(who.as_str(), lab.as_str());
                self.assertions.push((assertion, *lab));
                self.present(self.assertions.len() - 1).await;
            }
            Step::LogInAgain(_) if self.assertions.is_empty() => {}
            Step::LogInAgain(nth) => self.present(nth.index(self.assertions.len())).await,
            Step::Begin(who, lab) => self.begin_hand_off(*who, *lab).await,
            Step::Redeem(..) if self.codes.is_empty() => {}
            Step::Redeem(nth, right) => self.redeem(nth.index(self.codes.len()), *right).await,
            Step::Link(lab, who) => {
                let body = json!({"record": LOCAL, "reason": "r"});
                self.account(*lab, *who, Method::PUT, "link", body).await;
            }
            Step::Unlink(lab, who) => {
                self.account(*lab, *who, Method::POST, "unlink", why()).await;
            }
            Step::SetFlags(lab, who, version) => {
                let body = json!({"version": version, "flags": {"beta": true}, "reason": "r"});
                self.account(*lab, *who, Method::PUT, "flags", body).await;
            }
            Step::Person(who, deed) => {
                let path = format!("/admin/users/{}/{deed}", who.as_str());
                self.admin(Method::POST, &path, why()).await;
            }
            Step::Reserve(attempt, input) => {
                let wanted = wanted(attempt, *input);
                self.same(async |twin, _| twin.books().reserve(&wanted).await).await;
            }
            Step::Settle(ended) => {
                let settlements = ended
                    .iter()
                    .map(|(attempt, usage_source, end_reason, output)| Settlement {
                        attempt: attempt.attempt,
                        usage: Tokens { input: 8, output: *output, ..Tokens::default() },
                        usage_source: *usage_source,
                        end_reason: *end_reason,
                        ..ledger::settlement(&attempt.id, call(attempt))
                    })
                    .collect();
                let body = serde_json::to_vec(&SettleRequest { settlements }).unwrap();
                self.same(async |twin, _| twin.books().settle_body(body.clone()).await).await;
            }
            Step::Report(who) => {
                let person = (who.as_str(), &["user"][..]);
                self.same(async |twin, _| twin.books().report(person, "/me/usage", None).await)
                    .await;
            }
        }
    }

    /// Asks both, and has what both said.
    async fn same(&self, ask: impl AsyncFn(&Twin, usize) -> Response) -> [Value; 2] {
        let said =
            [said(ask(&self.twins[0], 0).await).await, said(ask(&self.twins[1], 1).await).await];
        let [sqlite, postgres] = said.clone().map(without_chance);
        assert_eq!(sqlite, postgres, "on SQLite, and on PostgreSQL");
        // What follows from it is not a matter of who is faster.
        for twin in &self.twins {
            until_none_is_pending(&twin.exchange).await;
        }
        said
    }

    async fn register(&self, lab: Lab, owner: Who) {
        let [one, other] = &self.twins;
        let registered = one.register(lab, owner, &self.key).await;
        assert_eq!(registered, other.register(lab, owner, &self.key).await);
    }

    async fn admin(&self, method: Method, path: &str, body: Value) {
        self.same(async |twin, _| twin.admin(method.clone(), path, body.clone()).await).await;
    }

    async fn order(&self, lab: Lab, deed: &str, body: Value) {
        let path = format!("/admin/instances/{}/{deed}", lab.as_str());
        self.admin(Method::POST, &path, body).await;
    }

    async fn account(&self, lab: Lab, who: Who, method: Method, deed: &str, body: Value) {
        let path = format!("/admin/instances/{}/users/{}/{deed}", lab.as_str(), who.as_str());
        self.admin(method, &path, body).await;
    }

    async fn present(&self, nth: usize) {
        let (assertion, lab) = &self.assertions[nth];
        self.same(async |twin, _| twin.exchange.present(assertion, lab.as_str()).await).await;
    }

    async fn begin_hand_off(&mut self, who: Who, lab: Lab) {
        let page = page_of(lab.as_str());
        let ask = async |twin: &Twin, _: usize| {
            twin.exchange.ask_for_code(who.as_str(), lab.as_str(), &page).await
        };
        let codes = self.same(ask).await.map(|said| said[1]["code"].as_str().map(str::to_owned));
        if let [Some(one), Some(other)] = codes
            && is_one_time(&one)
        {
            self.codes.push((lab, [one, other]));
        }
    }

    async fn redeem(&self, nth: usize, right: bool) {
        let (lab, codes) = &self.codes[nth];
        let page = page_of(lab.as_str());
        let origin = format!("https://{}.example", lab.as_str());
        let verifier = if right { VERIFIER } else { CHALLENGE };
        self.same(async |twin, which| {
            let fields =
                [("code", &*codes[which]), ("code_verifier", verifier), ("redirect_uri", &page)];
            twin.exchange.redeem_with(&fields, Some(&origin)).await
        })
        .await;
    }

    async fn end(self) {
        let [sqlite, postgres] = &self.twins;
        let (sqlite, postgres) = (sqlite.in_the_end().await, postgres.in_the_end().await);
        assert_eq!(sqlite, postgres, "on SQLite, and on PostgreSQL");
        drop(self.terms);
    }
}

fn call(attempt: &Attempt) -> kombi_spec::usage::Call {
    ledger::call(attempt.who.as_str(), attempt.plan)
}

fn wanted(attempt: &Attempt, input_tokens: u64) -> ReserveRequest {
    let wanted = ledger::wanted(&attempt.id, call(attempt));
    ReserveRequest { attempt: attempt.attempt, input_tokens, ..wanted }
}
