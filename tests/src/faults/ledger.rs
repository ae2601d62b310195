//! The exchange's ledger, as gates write into it, and what became of what they wrote.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, ensure};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use kombi_spec::{
    code::Code,
    header,
    usage::{
        Call, Endpoint, SUBJECT,
        report::{Report, Sums},
        reserve::{self, ReserveRequest},
        settle::{
            self, EndReason, MAX_SETTLEMENTS, SettleAnswer, SettleRequest, Settlement, Tokens,
            UsageSource,
        },
    },
};
use reqwest::Client;
use tokio::task::JoinSet;

use crate::{
    answer::{self, Answer},
    exchange::Exchange,
};

/// How long a writer waits that was refused.
const BREATH: Duration = Duration::from_millis(5);

/// How many write at once.
const WRITERS: u64 = 8;

/// Which connections a writer uses.
#[derive(Debug, Clone, Copy)]
pub(super) enum Connections {
    /// One for everything.
    Kept,
    /// One for each request.
    New,
}

/// What became of a reservation.
pub(super) enum Outcome {
    /// It was acknowledged.
    Acknowledged,
    /// It was answered with something else.
    Refused(Answer),
    /// Nobody listened.
    Unreachable,
    /// The connection stood, and there was no answer.
    Cut(String),
}

/// A gate, as the ledger knows it. Its assertions are good for half a minute.
#[derive(Clone)]
pub(crate) struct Ledger {
    client: Client,
    url: String,
    reserving: String,
    settling: String,
}

/// Writers at work.
pub(super) struct Writing {
    tasks: JoinSet<Written>,
}

/// What writers did.
#[derive(Default)]
pub(super) struct Written {
    /// How much they sent.
    pub(super) sent: u64,
    /// What was acknowledged.
    pub(super) acknowledged: Vec<String>,
    /// How often it was told to try again.
    pub(super) refused: u64,
    /// What became of the rest, where somebody listened.
    pub(super) failures: Vec<String>,
}

impl Ledger {
    pub(crate) fn of(exchange: &Exchange) -> Result<Self> {
        let url = exchange.url();
        let sign = |path: &str| exchange.assertion(SUBJECT, &format!("{url}{path}"));
        Ok(Self {
            client: answer::client()?,
            reserving: sign(reserve::PATH)?,
            settling: sign(settle::PATH)?,
            url,
        })
    }

    /// Reserves under `id`.
    pub(super) async fn reserve(&self, id: &str, connections: Connections) -> Outcome {
        let request = ReserveRequest {
            request_id: id.to_owned(),
            attempt: 1,
            call: call(),
            fallbacks: Vec::new(),
            input_tokens: 1,
            max_output_tokens: Some(1),
            choices: 1,
        };
        let post = self.client.post(format!("{}{}", self.url, reserve::PATH));
        let question = match serde_json::to_vec(&request) {
            Ok(json) => BASE64_URL_SAFE_NO_PAD.encode(json),
            Err(error) => return Outcome::Cut(error.to_string()),
        };
        let post = post.header(header::ASSERTION, &self.reserving);
        let post = post.header(header::QUESTION, question);
        let post = match connections {
            Connections::Kept => post,
            Connections::New => post.header("connection", "close"),
        };
        let answer = match post.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Outcome::Unreachable,
            Err(error) => return Outcome::Cut(format!("{error:?}")),
        };
        match Answer::read(answer).await {
            Ok(answer) if answer.status == 200 => Outcome::Acknowledged,
            Ok(answer) => Outcome::Refused(answer),
            Err(error) => Outcome::Cut(format!("{error:#}")),
        }
    }

    /// Reserves as fast as it goes, until the exchange is gone.
    pub(super) fn write(&self, round: u16, connections: Connections) -> Writing {
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let ledger = self.clone();
            tasks.spawn(async move {
                let mut written = Written::default();
                loop {
                    let id = format!("{round}-{connections:?}-{writer}-{}", written.sent);
                    written.sent += 1;
                    match ledger.reserve(&id, connections).await {
                        Outcome::Acknowledged => written.acknowledged.push(id),
                        Outcome::Refused(answer) => written.failures.push(answer.summary()),
                        Outcome::Unreachable => return written,
                        Outcome::Cut(error) => written.failures.push(error),
                    }
                    if !written.failures.is_empty() {
                        return written;
                    }
                }
            });
        }
        Writing { tasks }
    }

    /// Reserves on, whatever is refused for a while, until it is told to `stop`.
    pub(super) fn write_on(&self, round: u16, stop: &Arc<AtomicBool>) -> Writing {
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let (ledger, stop) = (self.clone(), Arc::clone(stop));
            tasks.spawn(async move {
                let mut written = Written::default();
                while !stop.load(Ordering::Relaxed) {
                    let id = format!("{round}-on-{writer}-{}", written.sent);
                    written.sent += 1;
                    match ledger.reserve(&id, Connections::Kept).await {
                        Outcome::Acknowledged => written.acknowledged.push(id),
                        Outcome::Refused(answer) if is_for_a_while(&answer) => {
                            written.refused += 1;
                            tokio::time::sleep(BREATH).await;
                        }
                        Outcome::Refused(answer) => written.failures.push(answer.summary()),
                        Outcome::Unreachable => written.failures.push("unreachable".to_owned()),
                        Outcome::Cut(error) => written.failures.push(error),
                    }
                }
                written
            });
        }
        Writing { tasks }
    }

    /// Settles what was reserved under `ids`.
    pub(crate) async fn settle(&self, ids: &[String]) -> Result<()> {
        for some in ids.chunks(MAX_SETTLEMENTS) {
            let settlements = some.iter().map(|id| settlement(id)).collect::<Vec<_>>();
            let post = self.client.post(format!("{}{}", self.url, settle::PATH));
            let post = post.header(header::ASSERTION, &self.settling);
            let answer = post.json(&SettleRequest { settlements }).send().await?;
            let answer: SettleAnswer = answer.error_for_status()?.json().await?;
            ensure!(answer.outcomes.len() == some.len(), "not every settlement was answered");
        }
        Ok(())
    }
}

impl Writing {
    /// Waits until every writer has noticed that the exchange is gone.
    pub(super) async fn end(self) -> Written {
        let mut all = Written::default();
        for one in self.tasks.join_all().await {
            all.sent += one.sent;
            all.acknowledged.extend(one.acknowledged);
            all.refused += one.refused;
            all.failures.extend(one.failures);
        }
        all
    }
}

/// Whether this says that the same may succeed later, and why it does not now.
fn is_for_a_while(answer: &Answer) -> bool {
    let why = answer.code();
    answer.status == 503
        && answer.headers.contains_key("retry-after")
        && why == Some(Code::StorageUnavailable)
}

/// An error unless each of the reservations `acknowledged`, of `sent` in all, is there once, and the
/// audit is whole.
pub(super) async fn all_there(
    exchange: &Exchange,
    sent: u64,
    acknowledged: &[String],
) -> Result<()> {
    let before = rows(exchange)?;
    let (written, known) = (before.calls + before.open, i64::try_from(acknowledged.len())?);
    ensure!(
        (known..=i64::try_from(sent)?).contains(&written),
        "{known} acknowledged, {sent} sent, and {written} rows"
    );
    // A row that was lost would be written by its settlement, and be one more.
    Ledger::of(exchange)?.settle(acknowledged).await?;
    let after = rows(exchange)?;
    let lost = after.calls + after.open - written;
    ensure!(lost == 0, "{lost} acknowledged rows were lost");
    ensure!(after.calls == known, "{known} acknowledged, and {} of them settled", after.calls);
    exchange.verify_audit()
}

/// How many calls the ledger has, settled and open.
pub(super) fn rows(exchange: &Exchange) -> Result<Sums> {
    let report: Report = serde_json::from_value(exchange.usage_by_model()?)?;
    let add = |all: Sums, row: &Sums| Sums {
        calls: all.calls + row.calls,
        open: all.open + row.open,
        ..all
    };
    Ok(report.rows.iter().fold(Sums::default(), add))
}

fn settlement(id: &str) -> Settlement {
    Settlement {
        request_id: id.to_owned(),
        attempt: 1,
        call: call(),
        sent_at: 1_795_478_400,
        usage: Tokens { input: 1, ..Tokens::default() },
        usage_source: UsageSource::Provider,
        end_reason: EndReason::Completed,
        status: Some(200),
        provider_request_id: None,
        first_token_ms: None,
        duration_ms: 1,
    }
}

fn call() -> Call {
    Call {
        subject: "faults".to_owned(),
        org: None,
        plan: None,
        provider: "openai".to_owned(),
        model: "gpt-x".to_owned(),
        endpoint: Endpoint::ChatCompletions,
        stream: false,
        route: "faults".to_owned(),
    }
}
