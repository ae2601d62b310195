//! One configured route: reads its configuration, and keeps its issuers' keys fresh.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use kombi_gate_core::{
    fetch::{KeyFetch, Progress},
    gate::Gate,
    step::{HttpCall, HttpOutcome},
};
use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext, RootContext},
    types::{BufferType, ContextType},
};

use crate::{host, log, request::Request, worker};

/// How often to look whether keys are due. A fetch takes two ticks, and the first request should
/// find the keys there.
const TICK: Duration = Duration::from_millis(250);

/// The root context of one configured route.
#[derive(Default)]
pub(crate) struct Root {
    gate: Option<Rc<Gate>>,
    /// Fetches under way, by the token of the call they wait for.
    fetches: BTreeMap<u32, (String, KeyFetch)>,
    /// Fetches that go on at the next tick: a call made from the callback of a root context's
    /// call kills the worker on Kong, which has freed the connection it would use.
    due: Vec<(String, KeyFetch, HttpCall)>,
}

impl Root {
    fn call(&mut self, issuer: String, fetch: KeyFetch, call: &HttpCall) {
        match host::dispatch(call) {
            Ok(token) => {
                self.fetches.insert(token, (issuer, fetch));
            }
            Err(status) => {
                self.advance(issuer, fetch, HttpOutcome::Failure(format!("dispatch: {status:?}")));
            }
        }
    }

    fn advance(&mut self, issuer: String, mut fetch: KeyFetch, outcome: HttpOutcome) {
        let now = host::now();
        match fetch.advance(outcome) {
            Ok(Progress::Call(call)) => self.due.push((issuer, fetch, call)),
            Ok(Progress::Done(set)) => worker::with_keys(|keys| keys.accept(&issuer, set, now)),
            Err(error) => {
                log::keys_not_refreshed(&issuer, &error);
                worker::with_keys(|keys| keys.fetch_failed(&issuer, now));
            }
        }
    }
}

impl RootContext for Root {
    /// Always true: Kong leaves a filter that refuses its configuration out of the chain, and
    /// then everything passes. The gate itself refuses everything instead.
    fn on_configure(&mut self, _size: usize) -> bool {
        let configuration = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, usize::MAX);
        let gate = Gate::new(&configuration.ok().flatten().unwrap_or_default());
        if let Some(error) = gate.unusable() {
            log::configuration_unusable(error);
        }
        if !gate.issuers().is_empty() {
            // Without a tick, keys are fetched when a request needs them.
            let _ = hostcalls::set_tick_period(TICK);
        }
        self.gate = Some(Rc::new(gate));
        true
    }

    fn on_tick(&mut self) {
        let Some(gate) = self.gate.clone() else { return };
        for (issuer, fetch, call) in std::mem::take(&mut self.due) {
            self.call(issuer, fetch, &call);
        }
        let now = host::now();
        for issuer in gate.issuers() {
            let name = &issuer.url.text;
            if worker::with_keys(|keys| keys.claim_refresh(name, now)) {
                let (fetch, call) = KeyFetch::begin(issuer);
                self.call(name.clone(), fetch, &call);
            }
        }
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        // An empty configuration is unusable, so a route that was never configured refuses.
        let gate = self.gate.clone().unwrap_or_else(|| Rc::new(Gate::new(b"")));
        Some(Box::new(Request::new(gate)))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Root {
    fn on_http_call_response(
        &mut self,
        token: u32,
        header_count: usize,
        body_size: usize,
        _trailer_count: usize,
    ) {
        if let Some((issuer, fetch)) = self.fetches.remove(&token) {
            self.advance(issuer, fetch, host::call_outcome(header_count, body_size));
        }
    }
}
