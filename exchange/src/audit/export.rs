//! The audit for other eyes: people are pseudonyms in it.

use std::{
    io::{self, Write},
    ops::ControlFlow,
};

use serde::Serialize;
use time::OffsetDateTime;

use super::{Audit, Row, chain::hex};
use crate::{
    csv,
    store::{Connection, Store, StoreError, params},
};

/// What an export looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A line of names, and one for each record.
    Csv,
    /// A JSON object a line.
    JsonLines,
}

/// There is no export.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing can be written.
    #[error("nothing can be written: {0}")]
    Output(#[from] io::Error),
}

/// A record as it is exported.
#[derive(Serialize)]
struct Exported<'a> {
    seq: i64,
    at: String,
    actor_kind: &'a str,
    actor: String,
    action: &'a str,
    instance: &'a str,
    subject: String,
    detail: &'a str,
    reason: &'a str,
    request_id: &'a str,
    outcome: &'a str,
    hash: String,
}

const NAMES: &str = "seq,at,actor_kind,actor,action,instance,subject,detail,reason,request_id,\
                     outcome,hash";

/// Writes the records after number `after` to `output`; how many they are.
pub async fn export(
    store: &Store,
    audit: &Audit,
    after: i64,
    form: Form,
    mut output: impl Write + Send + 'static,
) -> Result<u64, ExportError> {
    let audit = audit.clone();
    let all = move |connection: &Connection| {
        let select = format!("SELECT {} FROM audit WHERE seq > ?1 ORDER BY seq", Row::COLUMNS);
        if form == Form::Csv {
            write!(output, "{NAMES}\r\n")?;
        }
        let mut count = 0;
        connection.query_each(&select, params![after], |row| {
            let (row, hash) = Row::read(row)?;
            let exported = exported(&audit, &row, &hash);
            match form {
                Form::Csv => write!(output, "{}\r\n", line(&exported))?,
                Form::JsonLines => {
                    serde_json::to_writer(&mut output, &exported).map_err(io::Error::from)?;
                    writeln!(output)?;
                }
            }
            count += 1;
            Ok::<_, ExportError>(ControlFlow::<()>::Continue(()))
        })?;
        output.flush()?;
        Ok(count)
    };
    store.read_long(all).await
}

fn exported<'a>(audit: &Audit, row: &'a Row, hash: &[u8]) -> Exported<'a> {
    let [actor_kind, actor, action, instance, subject, detail, reason, request_id, outcome] =
        row.texts.each_ref().map(String::as_str);
    Exported {
        seq: row.seq,
        at: day_and_time(row.at),
        actor_kind,
        actor: audit.keys.pseudonym(actor),
        action,
        instance,
        subject: audit.keys.pseudonym(subject),
        detail,
        reason,
        request_id,
        outcome,
        hash: hex(hash),
    }
}

/// A moment as RFC 3339 has it; empty if it is none.
fn day_and_time(at: i64) -> String {
    let Ok(at) = OffsetDateTime::from_unix_timestamp(at) else { return String::new() };
    let (hour, minute, second) = at.to_hms();
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", at.date())
}

fn line(record: &Exported<'_>) -> String {
    let fields = [
        record.seq.to_string(),
        record.at.clone(),
        csv::field(record.actor_kind),
        csv::field(&record.actor),
        csv::field(record.action),
        csv::field(record.instance),
        csv::field(&record.subject),
        csv::field(record.detail),
        csv::field(record.reason),
        csv::field(record.request_id),
        csv::field(record.outcome),
        record.hash.clone(),
    ];
    fields.join(",")
}
