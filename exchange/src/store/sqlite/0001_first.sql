-- Times are seconds since 1970.

CREATE TABLE instances (
    id            TEXT    NOT NULL PRIMARY KEY,
    url           TEXT    NOT NULL,
    allow_private INTEGER NOT NULL CHECK (allow_private IN (0, 1)),
    owner         TEXT    NOT NULL,
    sealed_key    BLOB    NOT NULL,
    added_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE members (
    instance_id TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    sub         TEXT NOT NULL,
    PRIMARY KEY (instance_id, sub)
) STRICT, WITHOUT ROWID;

-- Which PocketBase record a person is, and was. A row with `until` is history.
CREATE TABLE links (
    instance_id TEXT    NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    sub         TEXT    NOT NULL,
    record_id   TEXT    NOT NULL,
    since       INTEGER NOT NULL,
    until       INTEGER
) STRICT;

CREATE UNIQUE INDEX current_links ON links (instance_id, sub) WHERE until IS NULL;

-- Assertions that were accepted, until they would be refused for their age anyway.
CREATE TABLE spent_jti (
    jti        TEXT    NOT NULL PRIMARY KEY,
    keep_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX spent_jti_by_age ON spent_jti (keep_until);

-- Something sealed with the operator's key, so that another key is noticed at start.
CREATE TABLE seal_proof (
    one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    sealed BLOB    NOT NULL
) STRICT;
