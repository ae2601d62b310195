//! Whatever people do, in whatever order: nobody gets into an instance who may not enter it. Every
//! way in and every change is tried at random, and after each step a model says who may enter.

pub(crate) mod calls;
pub(crate) mod homelab;
pub(crate) mod model;

use std::sync::{Arc, Mutex};

use kombi_exchange::{
    access::{Access, HookKey},
    address::Reach,
    instance::{InstanceId, InstanceUrl, PageUrl, Subject},
    registry::NewInstance,
};
use proptest::prelude::*;
use reqwest::Method;
use serde_json::json;

use crate::{
    exchange::{Exchange, page_of},
    gate::Gate,
    instance::FakeInstance,
    issuer::FakeIssuer,
    logout,
    revocations::until_none_is_pending,
};
use calls::{entry, said, session_path};
use homelab::{Homelab, LOCAL};
use model::{Deed, Entrant, Lab, Model, Visitor, Who};

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24, max_shrink_iters: 100, ..ProptestConfig::default()
    })]

    #[test]
    fn no_order_of_calls_lets_anybody_into_an_instance_that_they_may_not_enter(
        deeds in model::deeds()
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::begin().await;
            for deed in deeds {
                world.see_through(&deed).await;
            }
        });
    }
}

struct World {
    exchange: Exchange,
    issuer: FakeIssuer,
    /// Signs in the issuer's name.
    signer: Gate,
    /// In the order of [`Lab::BOTH`].
    labs: Vec<(FakeInstance, Arc<Mutex<Homelab>>)>,
    model: Model,
    /// Assertions that were used, each for what it is for.
    assertions: Vec<String>,
    codes: Vec<String>,
    sessions: Vec<Session>,
    logouts: usize,
}

struct Session {
    lab: Lab,
    visitor: Visitor,
    token: String,
}

impl World {
    async fn begin() -> Self {
        let signer = Gate::new(7);
        let issuer = logout::issuer(&signer).await;
        let exchange = logout::exchange(&issuer).await;
        let mut labs = Vec::new();
        for lab in Lab::BOTH {
            let homelab = Homelab::new(lab.as_str(), &HookKey::random().unwrap());
            let homelab = Arc::new(Mutex::new(homelab));
            labs.push((Homelab::serve(&homelab).await, homelab));
        }
        let (model, assertions, codes, sessions, logouts) = Default::default();
        let mut world =
            Self { exchange, issuer, signer, labs, model, assertions, codes, sessions, logouts };
        world.register(Lab::First, Who::Ada).await;
        world.register(Lab::Second, Who::Ben).await;
        world
    }

    /// Does it, and looks whether exactly those got in who may.
    async fn see_through(&mut self, deed: &Deed) {
        let before = self.let_in();
        let entered = self.done(deed).await;
        let mut expected = before;
        if let Some((visitor, lab)) = entered {
            expected[lab as usize].push(visitor.who.as_str().to_owned());
        }
        assert_eq!(self.let_in(), expected, "{deed:?}");
        for session in &self.sessions {
            for lab in Lab::BOTH {
                let alive = self.homelab(lab).lock().unwrap().knows(&session.token);
                let may = lab == session.lab && self.model.may(&session.visitor, lab);
                let (visitor, deed) = (&session.visitor, &deed);
                assert!(!alive || may, "after {deed:?}, {visitor:?} has a session in {lab:?}");
            }
        }
    }

    /// Does it; who entered where.
    async fn done(&mut self, deed: &Deed) -> Option<(Visitor, Lab)> {
        let why = json!({"reason": "r"});
        match deed {
            Deed::Register(lab, owner) => self.register(*lab, *owner).await,
            Deed::Remove(lab) => {
                let removed = self.order(*lab, "remove", why).await;
                assert_eq!(removed.status() == 200, self.model.remove(*lab));
                // Its owner takes it away: what is not registered is nobody's business here.
                self.renew(*lab, &HookKey::random().unwrap());
            }
            Deed::RotateKey(lab) => {
                let rotated = self.order(*lab, "rotate-key", why).await;
                if self.model.is_registered(*lab) {
                    let key = said(rotated).await["key"].as_str().unwrap().to_owned();
                    self.homelab(*lab).lock().unwrap().rekey(&key);
                }
            }
            Deed::Admit(lab, entrant) => {
                let admitted = self.order(*lab, "admit", entry(*entrant)).await;
                assert_eq!(admitted.status() == 200, self.model.is_registered(*lab));
                if admitted.status() == 200 {
                    self.model.admit(*lab, *entrant);
                }
            }
            Deed::Dismiss(lab, entrant) => self.dismiss(*lab, *entrant).await,
            Deed::DismissOne(lab, nth) => {
                if let Some(entrant) = self.model.one_of_those_in(*lab, nth) {
                    self.dismiss(*lab, entrant).await;
                }
            }
            Deed::Presume(visitor, lab, entrant) => {
                let path = format!("/admin/instances/{}/admit", lab.as_str());
                let body = entry(*entrant).to_string();
                assert_eq!(self.ask(visitor, &path, &path, body).await.status(), 403);
            }
            Deed::LogIn(visitor, lab) => {
                let path = session_path(*lab);
                let answer = self.ask(visitor, &path, &path, String::new()).await;
                let expected = self.model.may(visitor, *lab).then(|| (visitor.clone(), *lab));
                return self.session(answer, expected).await;
            }
            Deed::LogInElsewhere(visitor, lab) => {
                let (meant, at) = (session_path(lab.other()), session_path(*lab));
                assert_eq!(self.ask(visitor, &meant, &at, String::new()).await.status(), 401);
            }
            Deed::LogInAgain(nth, lab) => {
                if !self.assertions.is_empty() {
                    let used = nth.get(&self.assertions);
                    assert_eq!(self.exchange.present(used, lab.as_str()).await.status(), 401);
                }
            }
            Deed::Begin(visitor, lab) => {
                let answer = self.ask_for_code(visitor, *lab, *lab).await;
                assert_eq!(answer.status() == 200, self.model.may(visitor, *lab));
                if answer.status() == 200 {
                    self.codes.push(said(answer).await["code"].as_str().unwrap().to_owned());
                    self.model.give_code(visitor.clone(), *lab);
                }
            }
            Deed::BeginElsewhere(visitor, lab) => {
                let answer = self.ask_for_code(visitor, *lab, lab.other()).await;
                assert!(answer.status().is_client_error());
            }
            Deed::Redeem(back, page, verifier) => {
                let (nth, lab) = self.model.one_of_the_codes(*back)?;
                let lab = if *page { lab } else { lab.other() };
                return self.redeem(nth, lab, *verifier).await;
            }
            Deed::Link(lab, who) => {
                let body = json!({"record": LOCAL, "reason": "r"});
                self.account(*lab, *who, Method::PUT, "link", body).await;
            }
            Deed::Unlink(lab, who) => {
                self.account(*lab, *who, Method::POST, "unlink", why).await;
            }
            Deed::SetFlags(lab, who) => {
                let body = json!({"version": 1, "flags": {"admin": true}, "reason": "r"});
                self.account(*lab, *who, Method::PUT, "flags", body).await;
            }
            Deed::LogOut(who) => {
                self.logouts += 1;
                let jti = format!("j{}", self.logouts);
                let token = logout::token(&self.issuer, who.as_str(), &jti);
                let token = self.signer.seal("logout+jwt", &token);
                assert_eq!(self.exchange.log_out(&token).await.status(), 200);
                self.nobody_is_left(*who).await;
            }
            Deed::Revoke(who) => {
                assert_eq!(self.about(*who, "end-sessions").await.status(), 202);
                self.nobody_is_left(*who).await;
            }
            Deed::Block(who) => {
                let blocked = said(self.about(*who, "block").await).await;
                assert_eq!(blocked["changed"], self.model.block(*who));
                self.nobody_is_left(*who).await;
            }
            Deed::Unblock(who) => {
                let free = said(self.about(*who, "unblock").await).await;
                assert_eq!(free["changed"], self.model.unblock(*who));
            }
        }
        None
    }

    async fn register(&mut self, lab: Lab, owner: Who) {
        if !self.model.register(lab, owner) {
            return;
        }
        let (key, id) = (HookKey::random().unwrap(), lab.as_str());
        let url = self.labs[lab as usize].0.url();
        let new = NewInstance {
            id: InstanceId::parse(id).unwrap(),
            url: InstanceUrl::parse(&url, Reach::Private).unwrap(),
            owner: Subject::parse(owner.as_str()).unwrap(),
            members: [].into(),
            roles: [].into(),
            page: Some(PageUrl::parse(&page_of(id), Reach::Private).unwrap()),
            access: Access::Hook(key.clone()),
        };
        self.exchange.add(new).await;
        self.renew(lab, &key);
    }

    /// Another instance, which nobody has been to, takes the place of `lab`.
    fn renew(&self, lab: Lab, key: &HookKey) {
        let mut homelab = self.homelab(lab).lock().unwrap();
        let let_in = std::mem::take(&mut homelab.let_in);
        *homelab = Homelab::new(lab.as_str(), key);
        homelab.let_in = let_in;
        drop(homelab);
    }

    async fn dismiss(&mut self, lab: Lab, entrant: Entrant) {
        if self.order(lab, "dismiss", entry(entrant)).await.status() == 200 {
            self.model.dismiss(lab, entrant);
            until_none_is_pending(&self.exchange).await;
        }
    }

    fn homelab(&self, lab: Lab) -> &Mutex<Homelab> {
        &self.labs[lab as usize].1
    }

    /// Whom each instance let in, one after the other.
    fn let_in(&self) -> Vec<Vec<String>> {
        self.labs.iter().map(|(_, homelab)| homelab.lock().unwrap().let_in.clone()).collect()
    }

    /// Every session of `who` ends.
    async fn nobody_is_left(&mut self, who: Who) {
        until_none_is_pending(&self.exchange).await;
        for session in self.sessions.iter().filter(|session| session.visitor.who == who) {
            let homelab = self.homelab(session.lab).lock().unwrap();
            assert!(!homelab.knows(&session.token), "{who:?} is still in {:?}", session.lab);
        }
    }
}
