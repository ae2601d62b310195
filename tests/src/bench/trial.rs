//! Before anything is measured: every route does its job. A filter that failed to load lets
//! everybody pass, and would win every comparison.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::{
    case::{Case, Refuses},
    tokens::Tokens,
};
use crate::{
    answer::{self, Answer},
    host::Gateway,
};

/// How long a gateway may take until it has the issuer's keys.
const READY: Duration = Duration::from_secs(15);

/// Refuses a route that does not answer as it must.
pub(super) async fn run(case: &Case, gateway: &Gateway, tokens: &Tokens) -> Result<()> {
    let deadline = Instant::now() + READY;
    while status(case, gateway, Some(&tokens.one)).await? != 200 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    expect(200, case, gateway, Some(&tokens.one)).await?;
    let (without_token, without_role) = match case.refuses {
        Refuses::Nobody => (200, 200),
        Refuses::WithoutToken => (401, 200),
        Refuses::WithoutRole => (401, 403),
    };
    expect(without_token, case, gateway, None).await?;
    expect(without_role, case, gateway, Some(&tokens.without_role)).await
}

async fn expect(expected: u16, case: &Case, gateway: &Gateway, token: Option<&str>) -> Result<()> {
    let found = status(case, gateway, token).await?;
    if found != expected {
        let (route, which) = (case.route, if token.is_some() { "a" } else { "no" });
        bail!(
            "/{route} is not fit to be measured: expected {expected} for a request with {which} \
               token, found {found}"
        );
    }
    Ok(())
}

async fn status(case: &Case, gateway: &Gateway, token: Option<&str>) -> Result<u16> {
    let mut request = answer::client()?.get(format!("{}/{}", gateway.url(), case.route));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    Ok(Answer::to(request).await?.status)
}
