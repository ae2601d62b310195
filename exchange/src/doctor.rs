//! `kombi-exchange doctor`: looks at everything that has to be in place, one thing after the other,
//! and says what would mend what is not.
//!
//! Nothing is changed by looking. Every look ends in time, and what opens something is never shown.

mod database;
pub mod declaration;
mod instances;
mod issuer;
mod kong;
mod postgres;
mod proxy;
mod sample;
mod settings;
mod shared_store;
mod token;

use std::time::Duration;

use reqwest::Client;
use serde::Serialize;
use url::Url;

use crate::{
    address::Reach,
    database::Database,
    outbound::{Outbound, OutboundError, system_lookup},
    seal::Seal,
};
use declaration::Declaration;

/// How long one question may take, to whomever it goes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// What a look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// It works, but somebody should know; or it was not looked at.
    Warn,
    /// It does not do what it should.
    Fail,
}

impl Outcome {
    /// The outcome as it is printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What it came to.
    pub outcome: Outcome,
    /// The part of the system.
    pub part: &'static str,
    /// What of it.
    pub look: String,
    /// What was found.
    pub found: String,
    /// What mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Line {
    fn ok(part: &'static str, look: impl Into<String>, found: impl Into<String>) -> Self {
        let (look, found) = (look.into(), found.into());
        Self { outcome: Outcome::Ok, part, look, found, mend: None }
    }

    fn warn(
        part: &'static str,
        look: impl Into<String>,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        let mend = Some(mend.into());
        Self { outcome: Outcome::Warn, mend, ..Self::ok(part, look, found) }
    }

    fn fail(
        part: &'static str,
        look: impl Into<String>,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self { outcome: Outcome::Fail, ..Self::warn(part, look, found, mend) }
    }

    /// Nobody said where to look.
    fn skipped(part: &'static str, mend: impl Into<String>) -> Self {
        Self::warn(part, "everything", "not looked at", mend)
    }
}

/// Where to look.
pub struct Places {
    /// The routes: what the rendered declarative file says, or an issuer alone.
    pub declaration: Option<Declaration>,
    /// Where clients reach the gateway.
    pub proxy: Option<Url>,
    /// Kong's `status_listen`.
    pub kong_status: Option<Url>,
    /// Kong's `admin_listen`.
    pub kong_admin: Option<Url>,
    /// Kong's settings, as text.
    pub kong_conf: Option<String>,
    /// The exchange's listener for the operator.
    pub exchange: Option<Url>,
    /// The database.
    pub database: Option<Database>,
    /// Opens the keys of instances.
    pub seal: Option<Seal>,
    /// Where shared limits are kept; a secret.
    pub shared_store: Option<String>,
    /// A token to explain; a secret.
    pub token: Option<String>,
}

/// Looks at all of it.
pub async fn examine(places: Places) -> Result<Vec<Line>, OutboundError> {
    let outbound = Outbound::new(system_lookup)?;
    // The operator named every address, so those of private networks are as good.
    let client = outbound.client(Reach::Private);
    let mut lines = Vec::new();
    match &places.declaration {
        None => {
            lines.push(Line::skipped("issuer", "name --declaration, or --issuer and --audience"));
        }
        Some(declaration) => {
            lines.extend(declaration.check());
            lines.extend(issuer::look(client, declaration).await);
            if let Some(token) = &places.token {
                lines.extend(token::explain(client, declaration, token).await);
            }
        }
    }
    match (&places.proxy, &places.declaration) {
        (Some(proxy), Some(declaration)) => {
            lines.extend(proxy::look(client, proxy, declaration).await);
        }
        _ => lines.push(Line::skipped("gateway", "name --proxy and --declaration")),
    }
    lines.extend(kong::look(client, &places).await);
    match &places.exchange {
        None => lines.push(Line::skipped("exchange", "name --exchange")),
        Some(url) => lines.push(ready(client, url).await),
    }
    match places.database {
        None => lines.push(Line::skipped("database", "name --data, or --database")),
        Some(at) => {
            let (found, usable) = match &at {
                Database::Directory(data) => database::look(data).await,
                Database::Server(server) => postgres::look((**server).clone()).await,
            };
            lines.extend(found);
            lines.extend(instances::look(&outbound, &at, places.seal, usable).await);
        }
    }
    lines.push(shared_store::look(places.shared_store.as_deref()).await);
    Ok(lines)
}

/// Whether the exchange would answer.
async fn ready(client: &Client, url: &Url) -> Line {
    let (part, look) = ("exchange", "ready");
    match get(client, url, "readyz").await {
        Ok((200, _)) => Line::ok(part, look, "it serves"),
        Ok((status, body)) => {
            let said = String::from_utf8_lossy(&body).chars().take(200).collect::<String>();
            let found = format!("it answers {status}: {}", said.trim());
            Line::fail(part, look, found, "its log says more; `doctor` looks at its database, too")
        }
        Err(reason) => Line::fail(
            part,
            look,
            reason,
            "start `kombi-exchange serve`, and see that --exchange is its --ops-listen",
        ),
    }
}

/// Status and body of `GET url/path`.
async fn get(client: &Client, url: &Url, path: &str) -> Result<(u16, Vec<u8>), String> {
    let below = format!("{}/{path}", url.as_str().trim_end_matches('/'));
    answer(client.get(below)).await.map(|(status, _, body)| (status, body))
}

/// The whole answer to `request`, in time.
async fn answer(
    request: reqwest::RequestBuilder,
) -> Result<(u16, reqwest::header::HeaderMap, Vec<u8>), String> {
    let told = |error: reqwest::Error| {
        use crate::outbound::Failure::{NotHttp, OutOfBounds, Unreachable};
        match error.into() {
            OutOfBounds(cause) | NotHttp(cause) | Unreachable(cause) => {
                format!("no answer ({cause})")
            }
        }
    };
    let asked = async {
        let mut response = request.send().await.map_err(told)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = crate::outbound::body(&mut response, MAX_ANSWER_BYTES).await.map_err(told)?;
        Ok((status, headers, body.ok_or("an answer that is too large")?))
    };
    let late = |_| format!("no answer within {} s", PATIENCE.as_secs());
    tokio::time::timeout(PATIENCE, asked).await.map_err(late)?
}
