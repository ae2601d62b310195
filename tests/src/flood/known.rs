//! Those whose tokens are good, and who must not notice anything.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{task::JoinHandle, time::Instant};

use crate::stack::Stack;

/// How many good tokens there are.
const TOKENS: usize = 4;

/// How often each is sent before the flood, so that every worker has the issuer's keys.
const WARM_UP: usize = 10;

/// The pause between two good requests.
const PAUSE: Duration = Duration::from_millis(10);

/// Good tokens, and the stack that they are good for.
pub(super) struct Known<'a> {
    stack: &'a Stack,
    tokens: Vec<String>,
}

/// What became of their requests.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How long each took, sorted.
    pub(super) took: Vec<Duration>,
    /// How often each answer came that was not the backend's.
    pub(super) refused: BTreeMap<String, u64>,
}

impl<'a> Known<'a> {
    pub(super) async fn warm(stack: &'a Stack) -> Result<Self> {
        let mut tokens = Vec::new();
        for _ in 0..TOKENS {
            let token = stack.issuer.token("ada").await?;
            for _ in 0..WARM_UP {
                let answer = stack.get_as(&token, "/user").await?;
                if answer.status != 200 {
                    bail!("a good token is refused before the flood: {}", answer.summary());
                }
            }
            tokens.push(token);
        }
        Ok(Self { stack, tokens })
    }

    /// One of them.
    pub(super) fn token(&self) -> &str {
        self.tokens.first().map_or("", String::as_str)
    }

    /// Sends good requests for as long as `flood` lasts.
    pub(super) async fn send_until_done<T>(&self, flood: &JoinHandle<T>) -> Result<Seen> {
        let mut seen = Seen::default();
        for token in self.tokens.iter().cycle() {
            if flood.is_finished() {
                break;
            }
            let began = Instant::now();
            let answer = self.stack.get_as(token, "/user").await.context("a good request")?;
            seen.took.push(began.elapsed());
            if answer.status != 200 {
                *seen.refused.entry(answer.summary()).or_default() += 1;
            }
            tokio::time::sleep(PAUSE).await;
        }
        seen.took.sort_unstable();
        Ok(seen)
    }
}

impl Seen {
    /// The time within which `share` of the requests were answered.
    pub(super) fn within(&self, share: f64) -> Duration {
        let last = self.took.len().saturating_sub(1);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let at = (last as f64 * share).round() as usize;
        self.took.get(at).copied().unwrap_or_default()
    }
}
