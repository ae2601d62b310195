-- Sessions that are to end, until the instance has said that they have.
CREATE TABLE revocations (
    instance_id TEXT    NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    sub         TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    since       INTEGER NOT NULL,
    -- Grows when it is asked for again, so that an answer to an earlier request does not settle it.
    asked       INTEGER NOT NULL,
    failures    INTEGER NOT NULL,
    next_at     INTEGER NOT NULL,
    PRIMARY KEY (instance_id, sub)
) STRICT, WITHOUT ROWID;

CREATE INDEX revocations_by_turn ON revocations (next_at);
