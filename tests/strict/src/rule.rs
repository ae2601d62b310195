//! The rules, and what became of one that was broken.

use std::fmt;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident = $consequence:literal;)*) => {
        /// A rule of a host that a filter must keep.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $($(#[$doc])* $name,)* }

        impl Rule {
            /// All rules.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// What the host does about a filter that breaks it.
            #[must_use]
            pub const fn consequence(self) -> &'static str {
                match self { $(Self::$name => $consequence,)* }
            }
        }
    };
}

rules! {
    /// The guest trapped: a panic, or memory it does not own.
    Trap = "the request gets a 500 and the instance is dropped with every cache and root context";
    /// The guest trapped while another request of the worker was paused.
    WorkerDies = "the worker dies with SIGSEGV, and every client on it is cut off";
    /// A callback took far too long.
    Blocks = "every other request of the worker waits for it";
    /// `on_configure` or `on_vm_start` returned false, or the module could not be started.
    FailsOpen = "the host proxies without the filter: every route is open";
    /// A hostcall in a phase that the host does not allow it in.
    WrongPhase = "would trap on Kong: the hostcall is not allowed in this phase";
    /// A property read in a root context.
    PropertyRead = "would trap on Kong: properties cannot be read here";
    /// A property of Kong's own was read: it is answered in Lua, in whatever coroutine ran last.
    KongProperty = "now and then the worker dies of it";
    /// A property that is read-only or unknown was written.
    PropertyWrite = "would trap on Kong: this property is read-only or unknown";
    /// A property or header was written that changes nothing.
    WithoutEffect = "the host answers Ok and nothing changes";
    /// A dispatch from a phase that has none.
    DispatchPhase = "would trap on Kong: no dispatch in this phase";
    /// A dispatch from the callback of a root context's dispatch.
    DispatchFromRootsCallback = "the worker dies: such a call waits for the next tick";
    /// A request made a call after several in a row had timed out.
    TimeoutsInARow = "after several calls that timed out Kong cannot send a refusal, and dies when the client leaves";
    /// A request was refused because a call with a body had failed.
    RefusalSpoiled = "Kong loses the refusal's body and cuts the client off: what is asked for a request that may be refused must have no body";
    /// A dispatch to nowhere, or to a URL.
    DispatchTarget = "would trap on Kong: the target must be host:port";
    /// The request's body was written outside on_http_request_body.
    RequestBodyPhase = "would trap on Kong: the body can be set in on_http_request_body only";
    /// A request header was written after the response began.
    RequestHeadersTooLate = "would trap on Kong: the request has left";
    /// A response header was written in or after on_http_response_body.
    ResponseHeadersTooLate = "would trap on Kong: the response's head has left";
    /// A chunk of the response was replaced.
    ResponseReplaced = "the worker dies, some requests later on the same connection: what was replaced is used again after its request";
    /// Envoy: a request header was written in the body phase although the head was not paused.
    HeadersNotHeld = "fails on Envoy, and the SDK panics: on_http_request_headers did not pause";
    /// A request header was removed.
    ReliesOnRemoval = "Kong answers Ok, the filter stops seeing the header, the upstream still gets it";
    /// A request header that occurs twice was overwritten.
    ReliesOnOverwrite = "Kong replaces the first occurrence only; the upstream gets the others too";
    /// Shared data without a zone.
    NoZone = "would trap on Kong: there is no zone (nginx_wasm_shm_kv)";
    /// A value larger than the whole zone.
    ValueLargerThanZone = "would trap on Kong: the value is larger than the zone";
    /// A metric's name is longer than 200 characters.
    MetricName = "would trap on Kong: a metric's name has at most 200 characters";
    /// More metrics than the slab holds.
    MetricSlab = "would trap on Kong: the slab for metrics is full";
    /// The module's file name has a hyphen.
    FilterName = "every Wasm metric vanishes from /metrics";
    /// A request was paused and nothing is under way that could resume it.
    Hang = "the request hangs until its client gives up";
    /// A hostcall was meant for another context than the current one.
    ForeignContext = "Kong ignores it: the call applies to the current context";
    /// A log line that is too long.
    LogCut = "Kong cuts a log line at 2048 bytes";
    /// Nobody has measured what the host does.
    Unmeasured = "nobody has measured what a host does here, so a filter must not rely on it";
}

/// A broken rule.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// What the filter did.
    pub what: String,
    /// The callback it was in.
    pub within: String,
    /// What led to it, oldest first.
    pub trail: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}: {}", self.rule, self.what)?;
        writeln!(f, "  in {}", self.within)?;
        writeln!(f, "  {}", self.rule.consequence())?;
        writeln!(f, "  what led to it:")?;
        self.trail.iter().try_for_each(|line| writeln!(f, "    {line}"))
    }
}
