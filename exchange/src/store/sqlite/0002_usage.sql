-- The ledger of AI usage. Times are seconds since 1970; money is in billionths of the currency's
-- unit. The same tables for PostgreSQL are in spec/prisma/.

-- One row per call to a provider, never two, never none. While it is open, it holds the most
-- that the call could use; then what it did use.
CREATE TABLE usage_metrics (
    request_id          TEXT    NOT NULL,
    attempt             INTEGER NOT NULL CHECK (attempt BETWEEN 1 AND 99),
    subject             TEXT    NOT NULL,
    -- Empty for people without an organisation.
    org                 TEXT    NOT NULL,
    plan                TEXT    NOT NULL,
    billed              INTEGER NOT NULL CHECK (billed IN (0, 1)),
    provider            TEXT    NOT NULL,
    model               TEXT    NOT NULL,
    endpoint            TEXT    NOT NULL,
    stream              INTEGER NOT NULL CHECK (stream IN (0, 1)),
    route               TEXT    NOT NULL,
    state               TEXT    NOT NULL CHECK (state IN ('open', 'settled')),
    -- When the call left; decides which period and which price it belongs to.
    reserved_at         INTEGER NOT NULL,
    -- From when on the reaper may close it.
    closes_at           INTEGER NOT NULL,
    settled_at          INTEGER CHECK ((settled_at IS NULL) = (state = 'open')),
    reserved_input      INTEGER NOT NULL,
    reserved_output     INTEGER NOT NULL,
    reserved_cost_nano  INTEGER NOT NULL,
    -- 0 for calls that no provider answered.
    requests            INTEGER NOT NULL CHECK (requests IN (0, 1)),
    input_tokens        INTEGER NOT NULL,
    cached_tokens       INTEGER NOT NULL,
    output_tokens       INTEGER NOT NULL,
    reasoning_tokens    INTEGER NOT NULL,
    audio_tokens        INTEGER NOT NULL,
    cost_nano           INTEGER NOT NULL,
    -- Empty where there is no price for the model.
    currency            TEXT    NOT NULL,
    usage_source        TEXT    CHECK ((usage_source IS NULL) = (state = 'open')),
    end_reason          TEXT    CHECK ((end_reason IS NULL) = (state = 'open')),
    status              INTEGER,
    provider_request_id TEXT,
    first_token_ms      INTEGER,
    duration_ms         INTEGER,
    -- Whether the outbox has these numbers, and what it has of them.
    metered             INTEGER NOT NULL DEFAULT 0 CHECK (metered IN (0, 1)),
    metered_input       INTEGER NOT NULL DEFAULT 0,
    metered_output      INTEGER NOT NULL DEFAULT 0,
    metered_cost_nano   INTEGER NOT NULL DEFAULT 0,
    UNIQUE (request_id, attempt)
) STRICT;

CREATE INDEX usage_metrics_by_time ON usage_metrics (reserved_at);
CREATE INDEX usage_metrics_by_subject ON usage_metrics (subject, reserved_at);
CREATE INDEX usage_metrics_by_org ON usage_metrics (org, reserved_at) WHERE org <> '';
CREATE INDEX usage_metrics_open ON usage_metrics (closes_at) WHERE state = 'open';
CREATE INDEX usage_metrics_unmetered ON usage_metrics (reserved_at)
    WHERE metered = 0 AND billed = 1 AND state = 'settled';

-- What counts against budgets, summed up: for every person, organisation and plan the sums over
-- their rows in one period. Rows here can be deleted at any time; they are made again from the
-- table above when a budget asks for them.
CREATE TABLE usage_windows (
    scope     TEXT    NOT NULL,
    who       TEXT    NOT NULL,
    starts_at INTEGER NOT NULL,
    ends_at   INTEGER NOT NULL,
    requests  INTEGER NOT NULL,
    tokens    INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    PRIMARY KEY (scope, who, starts_at, ends_at)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_windows_by_age ON usage_windows (ends_at);

-- What is to be sent to the billing provider. Rows never change; corrections are rows of their
-- own, with a value that may be negative.
CREATE TABLE usage_outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Sent along, so that sending twice counts once.
    identifier TEXT    NOT NULL UNIQUE,
    event_name TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    org        TEXT    NOT NULL,
    plan       TEXT    NOT NULL,
    provider   TEXT    NOT NULL,
    model      TEXT    NOT NULL,
    currency   TEXT    NOT NULL,
    -- The hour that the calls left in.
    hour       INTEGER NOT NULL,
    value      INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
