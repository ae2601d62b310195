//! The way into an instance that has no hook: over PocketBase's API, as a superuser.
//!
//! It does what the hook does, with two differences that this API dictates: its steps are not one
//! transaction, so first logins into an instance take turns and a refused one is undone; and the
//! session cannot be refreshed.
//!
//! A superuser whose token went bad is a guest, and is told so by nothing: a list is merely empty.
//! So nothing is ever concluded from an empty list before something proved that we are no guest.

mod account;
mod api;
mod orders;
mod passes;
mod prepare;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use kombi_spec::{
    account::{Done, Order},
    session::HookRefusal,
};
use tokio::{sync::Mutex as Turn, time::Instant};

use super::{
    ConnectorError, Entry, Person,
    check::{self, Finding},
};
use crate::{
    access::Superuser,
    instance::{Instance, InstanceId, InstanceUrl, Subject},
    outbound::Outbound,
};
use account::Accounts;
use api::{Api, Trouble, misbehaved};
use passes::{Known, Passes};
pub use prepare::Prepared;

/// Enters instances as a superuser.
pub(super) struct AsSuperuser {
    outbound: Outbound,
    passes: Passes,
    /// Whose turn it is to be linked or made in an instance. Only registered instances have one.
    turns: Mutex<HashMap<InstanceId, Arc<Turn<()>>>>,
}

impl AsSuperuser {
    pub(super) fn new(outbound: Outbound) -> Self {
        Self { outbound, passes: Passes::default(), turns: Mutex::default() }
    }

    /// Ends every session of `subject` in `instance`; whether there is such a user.
    pub(super) async fn end_sessions(
        &self,
        instance: &Instance,
        superuser: &Superuser,
        subject: &Subject,
    ) -> Result<bool, ConnectorError> {
        let api = Api { client: self.outbound.client(instance.url.reach()), url: &instance.url };
        let known = self.passes.of(&instance.id, superuser);
        if let Some(known) = &known {
            match account::end_sessions(api, known, subject).await {
                Err(Trouble::Guest) => {}
                done => return done.map_err(|trouble| no_guest(&trouble)),
            }
        }
        let learnt_before = known.map(|known| known.since);
        let known = self.learn(api, instance, superuser, learnt_before).await?;
        let ended = account::end_sessions(api, &known, subject).await;
        ended.map_err(|trouble| no_guest(&trouble))
    }

    /// Carries `order` out on the user that is linked, or to be linked, to `subject`.
    pub(super) async fn carry_out(
        &self,
        instance: &Instance,
        superuser: &Superuser,
        subject: &Subject,
        order: &Order,
    ) -> Result<Done, ConnectorError> {
        let api = Api { client: self.outbound.client(instance.url.reach()), url: &instance.url };
        let known = self.passes.of(&instance.id, superuser);
        if let Some(known) = &known {
            match self.carry_out_with(api, known, instance, subject, order).await {
                Err(Trouble::Guest) => {}
                done => return done.map_err(|trouble| no_guest(&trouble)),
            }
        }
        let learnt_before = known.map(|known| known.since);
        let known = self.learn(api, instance, superuser, learnt_before).await?;
        let done = self.carry_out_with(api, &known, instance, subject, order).await;
        done.map_err(|trouble| no_guest(&trouble))
    }

    async fn carry_out_with(
        &self,
        api: Api<'_>,
        known: &Known,
        instance: &Instance,
        subject: &Subject,
        order: &Order,
    ) -> Result<Done, Trouble> {
        let turn = self.turn(&instance.id);
        let _turn = turn.lock().await;
        orders::carry_out(api, known, subject, order).await
    }

    /// Looks whether everything is in place at `url`, and changes nothing.
    pub(super) async fn check(&self, url: &InstanceUrl, superuser: &Superuser) -> Vec<Finding> {
        let api = Api { client: self.outbound.client(url.reach()), url };
        check::findings(prepare::wrong(api, superuser).await)
    }

    /// Makes the instance at `url` ready to be entered as `superuser`.
    pub(super) async fn prepare(
        &self,
        url: &InstanceUrl,
        superuser: &Superuser,
    ) -> Result<Prepared, ConnectorError> {
        prepare::prepare(Api { client: self.outbound.client(url.reach()), url }, superuser).await
    }

    /// Asks `instance`, whose superuser is `superuser`, for a session.
    pub(super) async fn enter(
        &self,
        instance: &Instance,
        superuser: &Superuser,
        person: &Person,
    ) -> Result<Entry, ConnectorError> {
        let client = self.outbound.client(instance.url.reach());
        let api = Api { client, url: &instance.url };
        let known = self.passes.of(&instance.id, superuser);
        if let Some(known) = &known {
            match self.enter_with(api, known, instance, person).await {
                Err(Trouble::Guest) => {}
                // The instance's rule may have changed since.
                Err(Trouble::Other(ConnectorError::Refused(HookRefusal::AccountRefused))) => {}
                done => return done.map_err(|trouble| no_guest(&trouble)),
            }
        }
        let learnt_before = known.map(|known| known.since);
        let known = self.learn(api, instance, superuser, learnt_before).await?;
        let entered = self.enter_with(api, &known, instance, person).await;
        entered.map_err(|trouble| no_guest(&trouble))
    }

    /// What is to be known of the instance, learnt anew unless that was just done. One learns for
    /// all: signing in costs the instance a bcrypt.
    async fn learn(
        &self,
        api: Api<'_>,
        instance: &Instance,
        superuser: &Superuser,
        not_of: Option<Instant>,
    ) -> Result<Known, ConnectorError> {
        let turn = self.turn(&instance.id);
        let _turn = turn.lock().await;
        let known = self.passes.of(&instance.id, superuser);
        let learnt_meanwhile = |known: &Known| Some(known.since) != not_of;
        if let Some(known) = known.clone().filter(learnt_meanwhile) {
            return Ok(known);
        }
        let since = Instant::now();
        if let Some(Known { pass, .. }) = known
            && let Ok(users) = api.users(&pass).await
        {
            let known = Known { pass, users, since };
            return Ok(self.passes.remember(&instance.id, superuser, known));
        }
        let pass = api.sign_in(superuser).await?;
        let users = api.users(&pass).await.map_err(|trouble| no_guest(&trouble))?;
        Ok(self.passes.remember(&instance.id, superuser, Known { pass, users, since }))
    }

    async fn enter_with(
        &self,
        api: Api<'_>,
        known: &Known,
        instance: &Instance,
        person: &Person,
    ) -> Result<Entry, Trouble> {
        let accounts = Accounts { api, known, person };
        if let Some(entry) = accounts.enter_as_known().await? {
            return Ok(entry);
        }
        let turn = self.turn(&instance.id);
        let _turn = turn.lock().await;
        accounts.enter_for_the_first_time().await
    }

    fn turn(&self, id: &InstanceId) -> Arc<Turn<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(id.clone()).or_default())
    }
}

/// What is left of trouble once the superuser has just signed in.
fn no_guest(trouble: &Trouble) -> ConnectorError {
    match trouble {
        Trouble::Other(error) => error.clone(),
        Trouble::Guest => misbehaved(
            "it does not treat the superuser as one, or its users have no hidden field \
             zitadel_sub; `kombi-exchange instance check` says which",
        ),
        Trouble::Field(field) => misbehaved(format!("it refuses a change of {field}")),
    }
}
