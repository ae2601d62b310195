//! What is to be sent to the billing provider, in the form of Stripe's meter events.
//!
//! For every hour, person, plan and model there is one event for each meter, written once the
//! hour is complete and never changed. What is settled or replaced later follows as an event with
//! the difference, which may be negative. A row and its share in an event are written in one
//! transaction, so each token is in the outbox once; each event has an identifier, so sending it
//! again counts once at the other end, too.

use kombi_spec::usage::meter::{COST_NANO, INPUT_TOKENS, MeterEvent, OUTPUT_TOKENS, Payload};

use crate::{
    random,
    store::{Connection, StoreError, params},
    time::UnixTime,
};

/// How long an hour is, in seconds.
const HOUR_S: i64 = 3_600;

/// What a group of rows adds to the outbox.
struct Share {
    subject: String,
    org: String,
    plan: String,
    provider: String,
    model: String,
    currency: String,
    hour: i64,
    values: [i64; 3],
}

/// Puts up to `most` rows of hours that ended before `complete` into the outbox; how many.
pub(super) fn fill(
    connection: &Connection,
    complete: UnixTime,
    now: UnixTime,
    most: usize,
) -> Result<usize, StoreError> {
    let before = complete.as_sql() / HOUR_S * HOUR_S;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    // The same rows each time that it is asked for.
    let due = "SELECT request_id, attempt FROM usage_metrics
               WHERE NOT metered AND billed AND state = 'settled' AND reserved_at < ?1
               ORDER BY reserved_at, request_id, attempt LIMIT ?2";
    let sums = format!(
        "SELECT subject, org, plan, provider, model, currency,
                reserved_at / {HOUR_S} * {HOUR_S} AS hour,
                CAST(sum(input_tokens - metered_input) AS BIGINT),
                CAST(sum(output_tokens - metered_output) AS BIGINT),
                CAST(sum(cost_nano - metered_cost_nano) AS BIGINT)
         FROM usage_metrics WHERE (request_id, attempt) IN ({due})
         GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7"
    );
    let shares = connection.query_all(&sums, params![before, most], |row| {
        Ok(Share {
            subject: row.get(0)?,
            org: row.get(1)?,
            plan: row.get(2)?,
            provider: row.get(3)?,
            model: row.get(4)?,
            currency: row.get(5)?,
            hour: row.get(6)?,
            values: [row.get(7)?, row.get(8)?, row.get(9)?],
        })
    })?;
    let write = "INSERT INTO usage_outbox (identifier, event_name, subject, org, plan, provider,
                                           model, currency, hour, value, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    for share in &shares {
        for (event_name, value) in
            [INPUT_TOKENS, OUTPUT_TOKENS, COST_NANO].into_iter().zip(share.values)
        {
            if value == 0 {
                continue;
            }
            connection.execute(
                write,
                params![
                    format!("kombi-{}", random::request_id()),
                    event_name,
                    share.subject,
                    share.org,
                    share.plan,
                    share.provider,
                    share.model,
                    share.currency,
                    share.hour,
                    value,
                    now.as_sql(),
                ],
            )?;
        }
    }
    let mark = format!(
        "UPDATE usage_metrics SET
             metered = TRUE, metered_input = input_tokens, metered_output = output_tokens,
             metered_cost_nano = cost_nano
         WHERE (request_id, attempt) IN ({due})"
    );
    connection.execute(&mark, params![before, most])
}

/// Up to `most` events after the one with the id `after`, with their ids.
pub(crate) fn events(
    connection: &Connection,
    after: i64,
    most: u32,
) -> Result<Vec<MeterEvent>, StoreError> {
    let read =
        "SELECT id, identifier, event_name, hour, value, subject, org, plan, provider, model,
                       currency
                FROM usage_outbox WHERE id > ?1 ORDER BY id LIMIT ?2";
    connection.query_all(read, params![after, most], |row| {
        let value: i64 = row.get(4)?;
        Ok(MeterEvent {
            id: row.get(0)?,
            identifier: row.get(1)?,
            event_name: row.get(2)?,
            timestamp: row.get(3)?,
            payload: Payload {
                value: value.to_string(),
                subject: row.get(5)?,
                org: row.get(6)?,
                plan: row.get(7)?,
                provider: row.get(8)?,
                model: row.get(9)?,
                currency: row.get(10)?,
            },
        })
    })
}
