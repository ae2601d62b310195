//! What must hold of a request that has ended.

use kombi_spec::{code::Code, header};

use super::{Good, Sent, Storm};
use crate::outcome::Outcome;

impl Storm {
    /// Checks what has ended since the last time.
    pub(super) fn judge(&mut self) -> Result<(), String> {
        if let Some(violation) = self.node.take_violations().first() {
            return Err(format!("a broken rule: {violation}"));
        }
        let sent = std::mem::take(&mut self.sent);
        // What ended together is in no order, so a worker counts as having a key from now on only.
        let had_key = self.has_key.clone();
        for sent in sent {
            match self.node.outcome(sent.id).cloned() {
                None => self.sent.push(sent),
                Some(outcome) => self.check(&sent, &outcome, &had_key).map_err(|what| {
                    let problem = outcome.problem();
                    format!(
                        "{what}: {:?} to {} ended with {} {problem:?}",
                        sent.id,
                        sent.path,
                        outcome.status()
                    )
                })?,
            }
        }
        Ok(())
    }

    fn check(
        &mut self,
        sent: &Sent,
        outcome: &Outcome,
        had_key: &[Option<u32>],
    ) -> Result<(), &'static str> {
        match outcome {
            Outcome::CutOff if sent.cut => self.tally.cut_off += 1,
            Outcome::CutOff => return Err("a request was cut off"),
            Outcome::Broken => return Err("a request broke"),
            Outcome::Forwarded { upstream, .. } => {
                self.tally.forwarded += 1;
                let protected = ["/user", "/admin"].contains(&sent.path);
                if sent.path == "/broken" {
                    return Err("a route without a usable configuration let a request pass");
                }
                if sent.reserved {
                    return Err("a reserved header was let through");
                }
                if protected && sent.good == Good::No {
                    return Err("a protected route let a bad token pass");
                }
                if sent.path == "/admin" && !sent.admin {
                    return Err("a route that needs a role let somebody without it pass");
                }
                let told = upstream.headers.all(header::SUBJECT).len();
                if told != usize::from(protected) {
                    return Err("the upstream was not told once who calls");
                }
                if protected && let Some(has_key) = self.has_key.get_mut(sent.worker) {
                    *has_key = Some(sent.rotations);
                }
            }
            Outcome::Answered(response) => {
                let Some(problem) = outcome.problem() else { return Err("not a problem document") };
                if problem.status != response.status {
                    return Err("the problem document tells another status");
                }
                match response.status {
                    400 | 401 | 403 => self.tally.refused += 1,
                    503 => self.tally.unavailable += 1,
                    _ => return Err("an unexpected status"),
                }
                if response.status == 401 && response.headers.first("www-authenticate").is_none() {
                    return Err("a 401 without a challenge");
                }
                self.check_refusal(sent, problem.code, had_key)?;
            }
        }
        Ok(())
    }

    fn check_refusal(
        &self,
        sent: &Sent,
        code: Code,
        had_key: &[Option<u32>],
    ) -> Result<(), &'static str> {
        match code {
            Code::ConfigurationInvalid if sent.path == "/broken" => return Ok(()),
            _ if sent.path == "/broken" && !sent.reserved => {
                return Err("a broken route looks well");
            }
            Code::ConfigurationInvalid => return Err("a good configuration is refused"),
            Code::KeysUnavailable => {
                let troubled = self.trouble_ms.is_some_and(|ms| ms + 15_000 >= sent.began_ms);
                if !self.in_trouble && !troubled {
                    return Err("no keys although the issuer was never in trouble");
                }
                // A key id that nobody has seen may be the issuer's newest, as long as it is silent.
                let had_key = had_key.get(sent.worker).copied().flatten();
                if sent.good != Good::No && had_key == Some(sent.rotations) {
                    return Err("no key although the worker had it");
                }
            }
            Code::HeaderReserved if !sent.reserved => return Err("an ordinary header is refused"),
            _ => {}
        }
        if sent.reserved {
            return if code == Code::HeaderReserved {
                Ok(())
            } else {
                Err("a reserved header was missed")
            };
        }
        if sent.path == "/public" {
            return Err("a public route refused");
        }
        let lacks_role = sent.path == "/admin" && !sent.admin;
        if self.fair && sent.good == Good::Yes && !lacks_role {
            return Err("a good token was refused");
        }
        Ok(())
    }
}
