//! What one gate has found out about a verified token, kept so that the next request with the same
//! token need not be judged anew.

use std::rc::{Rc, Weak};

use crate::{
    gate::Gate, identity::Identity, limit::Budgets, step::SetHeader, time::UnixTime, token::Window,
};

/// The leave of one token to pass one gate. What it says came out of the full judgement of an
/// earlier request; of that, only the dates and the method could come out otherwise next time, and
/// both are looked at again. There is none for a token that was refused.
#[derive(Debug)]
pub struct Admission {
    /// The gate that judged. As long as this is here, no other gate can have its address.
    gate: Weak<Gate>,
    /// The method that was judged, where it matters.
    method: Option<Box<str>>,
    window: Window,
    /// Who calls.
    pub identity: Identity,
    /// What the upstream is told of that.
    pub headers: Rc<[SetHeader]>,
    /// What they draw on, if that is the same wherever they call from.
    pub budgets: Option<Rc<Budgets>>,
}

impl Admission {
    /// The admission of `identity` to `gate`, for as long as `window` says and, if the method
    /// mattered, for this `method` only.
    #[must_use]
    pub fn new(
        gate: &Rc<Gate>,
        method: Option<&str>,
        window: Window,
        identity: Identity,
        budgets: Option<Rc<Budgets>>,
    ) -> Self {
        Self {
            gate: Rc::downgrade(gate),
            method: method.map(Box::from),
            window,
            headers: identity.headers().into(),
            identity,
            budgets,
        }
    }

    /// Whether this admits a request with `method` to `gate` at the moment `now`.
    #[must_use]
    pub fn holds(&self, gate: &Rc<Gate>, method: &str, now: UnixTime) -> bool {
        self.gate.as_ptr() == Rc::as_ptr(gate)
            && self.window.contains(now)
            && self.method.as_deref().is_none_or(|judged| judged == method)
    }

    /// About how much memory this takes, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        // An identity says what its headers say, and a little more.
        let headers: usize = self.headers.iter().map(|header| header.value.len() + 64).sum();
        headers * 3 + 512 + self.budgets.as_ref().map_or(0, |budgets| budgets.weight())
    }
}
