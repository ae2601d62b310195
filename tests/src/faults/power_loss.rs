//! The power may go at any moment: for each write that the exchange acknowledges, its log is on the
//! disk before the answer leaves. `strace` watches the real program make its calls to the system.

use std::{collections::HashMap, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};

use super::{
    Lab,
    ledger::{Connections, Ledger, Outcome},
};
use crate::{
    artifacts,
    exchange::{Exchange, Installed},
    run_dir::RunDir,
};

/// What is missing here, if anything.
pub(super) fn missing() -> Option<&'static str> {
    let found = artifacts::output(Command::new("strace").arg("--version")).is_ok();
    (!found).then_some("strace is missing: on Debian and Ubuntu, `apt-get install strace`")
}

pub(super) async fn run(lab: &mut Lab<'_>) -> Result<String> {
    if let Some(missing) = missing() {
        bail!(missing);
    }
    let run = RunDir::new()?;
    let trace = run.path().join("strace.txt");
    let watched = [
        // The exchange stays the child of the stack.
        "strace",
        "--daemonize=grandchild",
        "--follow-forks",
        "--decode-fds=path",
        "--string-limit=16",
        "--trace=pwrite64,fsync,fdatasync,sendto,sendmsg,write,writev",
        "--output",
        trace.to_str().context("a path is text")?,
    ];
    let installed = Installed::new(lab.artifacts, &run, "http://127.0.0.1:1")?.under(watched);
    let mut exchange = Exchange::start(installed, &run).await?;
    let ledger = Ledger::of(&exchange)?;
    let writes = lab.of(200, 25);
    for number in 0..writes {
        // One after the other, so that each answer belongs to what was written before it.
        let outcome = ledger.reserve(&number.to_string(), Connections::Kept).await;
        ensure!(matches!(outcome, Outcome::Acknowledged), "a reservation was not acknowledged");
    }
    exchange.stop(super::STOPS_WITHIN).await?;
    let answers = answers_after_their_sync(&trace)?;
    ensure!(answers >= writes, "strace saw {answers} answers of {writes}");
    Ok(format!(
        "before each of {writes} acknowledgements the log was written and synced (fdatasync), in the \
         real program's own calls to the system"
    ))
}

/// How many answers to writes left, each after a write to the log and its sync. An error if one left
/// before.
fn answers_after_their_sync(trace: &Path) -> Result<usize> {
    let text = fs::read(trace).context("strace wrote nothing")?;
    let mut sync = Sync::default();
    let mut answers = 0;
    let mut unfinished = HashMap::new();
    for line in String::from_utf8_lossy(&text).lines() {
        let Some((process, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        // What blocks is told of twice, and counts when it is over; but an answer when it begins.
        if let Some(begun) = call.strip_suffix("<unfinished ...>") {
            if is_answer(begun) {
                answers += 1;
                sync.answered(begun)?;
            }
            unfinished.insert(process.to_owned(), begun.to_owned());
        } else if call.starts_with("<... ") {
            let begun = unfinished.remove(process).unwrap_or_default();
            if !is_answer(&begun) {
                sync.made(&begun);
            }
        } else if is_answer(call) {
            answers += 1;
            sync.answered(call)?;
        } else {
            sync.made(call);
        }
    }
    Ok(answers)
}

/// How things stand with the log.
#[derive(Default)]
struct Sync {
    written: bool,
    synced: bool,
}

impl Sync {
    fn made(&mut self, call: &str) {
        if !call.contains("exchange.db-wal") {
            return;
        }
        if call.starts_with("pwrite64(") {
            *self = Self { written: true, synced: false };
        } else if self.written && (call.starts_with("fsync(") || call.starts_with("fdatasync(")) {
            self.synced = true;
        }
    }

    /// The next answer needs a write of its own.
    fn answered(&mut self, call: &str) -> Result<()> {
        ensure!(self.written && self.synced, "acknowledged before it was on the disk: {call}");
        *self = Self::default();
        Ok(())
    }
}

/// Only writes are asked for here, and probes of `/readyz`, whose answers are not awaited: they
/// write, too.
fn is_answer(call: &str) -> bool {
    let sends = ["sendto(", "sendmsg(", "write(", "writev("];
    sends.iter().any(|send| call.starts_with(send)) && call.contains("HTTP/1.1 200 OK")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(lines: &[&str]) -> Result<usize> {
        let folder = RunDir::new().unwrap();
        answers_after_their_sync(&folder.write("strace.txt", lines.join("\n")).unwrap())
    }

    const WRITE: &str = r#"7 pwrite64(9</d/exchange.db-wal>, "x", 24, 32) = 24"#;
    const SYNC: &str = "7 fdatasync(9</d/exchange.db-wal>) = 0";
    const ANSWER: &str = r#"8 sendto(12<socket:[1]>, "HTTP/1.1 200 OK"..., 90, 0, NULL, 0) = 90"#;

    #[test]
    fn an_answer_after_its_sync_is_right_and_one_before_is_not() {
        assert_eq!(answers(&[WRITE, SYNC, ANSWER, WRITE, SYNC, ANSWER]).unwrap(), 2);
        assert!(answers(&[WRITE, ANSWER]).is_err());
        assert!(answers(&[WRITE, SYNC, WRITE, ANSWER]).is_err());
        assert!(answers(&[WRITE, SYNC, ANSWER, ANSWER]).is_err());
    }

    #[test]
    fn a_sync_counts_once_it_is_over() {
        let begun = "7 fdatasync(9</d/exchange.db-wal> <unfinished ...>";
        let over = "7 <... fdatasync resumed>) = 0";
        assert_eq!(answers(&[WRITE, begun, over, ANSWER]).unwrap(), 1);
        assert!(answers(&[WRITE, begun, ANSWER, over]).is_err());
    }
}
