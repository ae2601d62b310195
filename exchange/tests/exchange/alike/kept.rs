//! What a database has in the end, without what is a matter of the moment or of chance: times,
//! hashes, what is sealed, and how far errands that are under way have come.

use kombi_exchange::{
    database::Database,
    store::{Connection, Row, StoreError},
};

use crate::database;

/// One text for each row.
const SELECTS: [&str; 14] = [
    "SELECT concat_ws(' ', 'instance', id, owner, access, page) FROM instances ORDER BY id",
    "SELECT concat_ws(' ', 'member', instance_id, sub) FROM members ORDER BY instance_id, sub",
    "SELECT concat_ws(' ', 'role', instance_id, organisation, role) FROM entry_roles
     ORDER BY instance_id, organisation, role",
    "SELECT concat_ws(' ', 'link', instance_id, sub, record_id,
         CASE WHEN until IS NULL THEN 'now' ELSE 'once' END) AS link FROM links ORDER BY link",
    "SELECT concat_ws(' ', 'blocked', sub, reason) FROM blocked ORDER BY sub",
    "SELECT concat_ws(' ', 'flags', instance_id, sub, version, flags) FROM flags
     ORDER BY instance_id, sub",
    "SELECT concat_ws(' ', 'revocation', instance_id, sub) FROM revocations",
    "SELECT concat_ws(' ', 'code', instance_id, sub, person, redirect_uri, challenge, state,
         CASE WHEN replayed THEN 'again' ELSE 'once' END, turn) AS code
     FROM handoff_codes ORDER BY code",
    "SELECT concat_ws(' ', 'jti', count(*)) FROM spent_jti WHERE jti <> ''",
    "SELECT concat_ws(' ', 'call', request_id, attempt, subject, org, plan,
         CASE WHEN billed THEN 'billed' END, provider, model, endpoint, route, state,
         reserved_input, reserved_output, reserved_cost_nano, requests, input_tokens,
         output_tokens, cost_nano, currency, usage_source, end_reason, status, duration_ms)
     FROM usage_metrics ORDER BY request_id, attempt",
    "SELECT concat_ws(' ', 'sum', scope, who, starts_at, ends_at, requests, tokens, cost_nano)
     FROM usage_windows ORDER BY scope, who, starts_at, ends_at",
    "SELECT concat_ws(' ', 'record', actor_kind, actor, action, instance, subject, detail, reason,
         outcome) FROM audit WHERE actor_kind <> 'exchange' ORDER BY seq",
    "SELECT concat_ws(' ', 'record', action, instance, subject, reason, outcome) AS record
     FROM audit WHERE action = 'sessions_ended' ORDER BY record",
    "SELECT concat_ws(' ', 'end', seq - (SELECT count(*) FROM audit)) FROM audit_head",
];

/// Everything that `database` keeps.
pub(super) fn in_it(database: &Database) -> Vec<String> {
    let all = |connection: &Connection| {
        let mut all = Vec::new();
        for select in SELECTS {
            all.extend(connection.query_all(select, &[], |row: &Row<'_>| row.get::<String>(0))?);
        }
        Ok::<_, StoreError>(all)
    };
    database::within(database.clone(), all).unwrap()
}
