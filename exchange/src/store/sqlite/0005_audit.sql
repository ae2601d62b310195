-- Who did what, on whom, why, in which request, and how it ended. Rows are added and never changed.
CREATE TABLE audit (
    seq        INTEGER NOT NULL PRIMARY KEY,
    at         INTEGER NOT NULL,
    actor_kind TEXT    NOT NULL,
    -- The person, where it is one.
    actor      TEXT    NOT NULL,
    action     TEXT    NOT NULL,
    instance   TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    detail     TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    -- "ok", or the code of the refusal.
    outcome    TEXT    NOT NULL,
    -- Over the row and the hash before it.
    hash       BLOB    NOT NULL
) STRICT;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit is only added to'); END;

CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit is only added to'); END;

-- Where the chain ends, so that records missing at the end are noticed; and the key of its hashes,
-- sealed.
CREATE TABLE audit_head (
    one        INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    sealed_key BLOB    NOT NULL,
    seq        INTEGER NOT NULL,
    hash       BLOB    NOT NULL,
    proof      BLOB    NOT NULL
) STRICT;
