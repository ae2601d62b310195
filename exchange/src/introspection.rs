//! `POST /gate/introspect`: one question about an opaque token on its way through the exchange,
//! from top to bottom. See [`kombi_spec::introspection`].

mod answer;
mod client;
mod issuer;
mod question;
mod token;
mod verdicts;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use kombi_spec::{
    code::Code,
    introspection::{ACTIVE_CACHE_S, INACTIVE_CACHE_S, IntrospectionAnswer, MAX_BYTES},
};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{
    assertion::Verifier,
    body::{BodyLimits, RequestBody},
    metrics::Metrics,
    outbound::Outbound,
    refusal::Refusal,
    reply,
    route::Trace,
    time::UnixTime,
    vouched,
};

use answer::Answer;
use client::IssuerClient;
use question::Question;
use token::Token;
use verdicts::{Judgement, Verdict, Verdicts};

pub use client::AskError;
pub(crate) use client::call;
pub use issuer::{AddressUnfit, Issuer};
pub(crate) use issuer::{callable, metadata_of};

/// For how long an issuer that does not answer is not asked again about the same token.
const FAILURE_CACHE: Duration = Duration::from_secs(1);

/// Limits that an operator has no reason to change; tests do.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long the issuer may take, discovery included.
    pub time: Duration,
    /// How many questions to the issuer may be under way. More wait, within that time.
    pub questions: usize,
    /// How many tokens are remembered as active, and as many again as anything else.
    pub tokens: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_secs(2), questions: 64, tokens: 4096 }
    }
}

/// The desk where the gate asks about tokens.
pub struct Introspection {
    verifier: Verifier,
    issuer: Option<IssuerClient>,
    verdicts: Verdicts,
    body: BodyLimits,
    metrics: Metrics,
}

impl Introspection {
    /// Asks `issuer`, if there is one, for whoever `verifier` knows as the gate.
    #[must_use]
    pub fn new(
        verifier: Verifier,
        issuer: Option<Issuer>,
        outbound: &Outbound,
        limits: (Limits, BodyLimits),
        metrics: Metrics,
    ) -> Self {
        let (limits, body) = limits;
        let issuer = issuer.map(|issuer| IssuerClient::new(issuer, outbound, limits));
        Self { verifier, issuer, verdicts: Verdicts::new(limits.tokens), body, metrics }
    }

    /// Says whether the token in `request` is good.
    pub async fn introspect(
        &self,
        request: Request<impl RequestBody>,
        trace: &mut Trace,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let limits = (MAX_BYTES, self.body);
        let asked = vouched::asked_by_the_gate(&self.verifier, request, limits, trace).await?;
        let Question { issuer, token } = Question::parse(&asked)?;
        let issuer = self.issuer_called(&issuer)?;
        let judgement = self.judge(issuer, &token).await;
        trace.introspected = Some(judgement.verdict.as_label());
        answered(&judgement, Instant::now())
    }

    /// The configured issuer, if that is its name.
    fn issuer_called(&self, name: &str) -> Result<&IssuerClient, Refusal> {
        let unknown = |detail| Refusal::new(Code::IntrospectionNotConfigured, detail);
        let issuer = self.issuer.as_ref();
        let issuer = issuer.ok_or_else(|| unknown("the exchange introspects no tokens"))?;
        if issuer.name() == name {
            return Ok(issuer);
        }
        let other = "the exchange introspects tokens of another issuer only";
        Err(unknown(other).because(format!("expected {:?}, found {name:?}", issuer.name())))
    }

    /// What is known of `token`, or what `issuer` says now.
    async fn judge(&self, issuer: &IssuerClient, token: &Token) -> Judgement {
        let ask = async {
            let started = Instant::now();
            let asked = issuer.ask(token).await;
            let now = Instant::now();
            let judgement = judged(asked, now, UnixTime::now());
            self.metrics.introspection_call(judgement.verdict.as_label(), now - started);
            judgement
        };
        let (judgement, source) = self.verdicts.of(token.fingerprint(), Instant::now(), ask).await;
        self.metrics.introspection(judgement.verdict.as_label(), source.as_label());
        judgement
    }
}

/// What follows from the issuer's words, and for how long.
fn judged(asked: Result<Answer, AskError>, now: Instant, clock: UnixTime) -> Judgement {
    let (verdict, relied_on) = match asked {
        Ok(Answer::Active { claims, exp }) => {
            let left = exp.map_or(u64::MAX, |exp| exp.as_secs().saturating_sub(clock.as_secs()));
            match left {
                // Ours is the clock that counts.
                0 => (Verdict::Inactive, Duration::from_secs(INACTIVE_CACHE_S)),
                // The clock is cut to whole seconds, so up to one of them has already passed.
                left => (
                    Verdict::Active(Arc::from(claims)),
                    Duration::from_secs((left - 1).min(ACTIVE_CACHE_S)),
                ),
            }
        }
        Ok(Answer::Inactive) => (Verdict::Inactive, Duration::from_secs(INACTIVE_CACHE_S)),
        Err(error) => (Verdict::Unknown(Arc::new(error)), FAILURE_CACHE),
    };
    Judgement { verdict, until: now + relied_on }
}

fn answered(judgement: &Judgement, now: Instant) -> Result<Response<Full<Bytes>>, Refusal> {
    let claims: Option<&RawValue> = match &judgement.verdict {
        Verdict::Active(claims) => Some(claims),
        Verdict::Inactive => None,
        Verdict::Unknown(error) => return Err(Refusal::from(&**error)),
    };
    let cache_for_s = judgement.until.saturating_duration_since(now).as_secs();
    let answer = IntrospectionAnswer { active: claims.is_some(), claims, cache_for_s };
    reply::json(&answer)
}

impl From<&AskError> for Refusal {
    fn from(error: &AskError) -> Self {
        let detail = match error {
            AskError::Late => "the issuer did not answer in time",
            AskError::Unreachable(_) => "the issuer could not be reached",
            AskError::AddressRefused(_) => "the issuer's name leads to an address out of bounds",
            AskError::CredentialsRefused => "the issuer does not accept the exchange's credentials",
            AskError::Misbehaved(_) => "the issuer's answer is not an introspection",
        };
        Self::new(Code::IntrospectionUnavailable, detail).because(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: UnixTime = UnixTime::from_secs(1_000_000);

    fn active(exp: Option<u64>) -> Result<Answer, AskError> {
        let claims = RawValue::from_string("{}".to_owned()).unwrap();
        Ok(Answer::Active { claims, exp: exp.map(UnixTime::from_secs) })
    }

    #[test]
    fn a_verdict_is_relied_on_until_exp_and_no_longer_than_its_kind_allows() {
        let exp = |left: u64| Some(CLOCK.as_secs() + left);
        for (asked, label, relied_on_s) in [
            (active(None), "active", 60),
            (active(exp(3600)), "active", 60),
            (active(Some(u64::MAX)), "active", 60),
            (active(exp(61)), "active", 60),
            (active(exp(31)), "active", 30),
            (active(exp(1)), "active", 0),
            (active(exp(0)), "inactive", 10),
            (active(Some(0)), "inactive", 10),
            (Ok(Answer::Inactive), "inactive", 10),
            (Err(AskError::Late), "late", 1),
        ] {
            let now = Instant::now();
            let judgement = judged(asked, now, CLOCK);
            assert_eq!(judgement.verdict.as_label(), label);
            assert_eq!(judgement.until - now, Duration::from_secs(relied_on_s), "{label}");
        }
    }
}
