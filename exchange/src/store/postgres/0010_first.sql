-- What SQLite has after ten steps (sqlite/), but for the tables of AI usage: those are in
-- spec/prisma/, for the team that reads them. Texts compare as bytes do, as they do in SQLite.

CREATE TABLE instances (
    id            TEXT    COLLATE "C" NOT NULL PRIMARY KEY,
    url           TEXT    COLLATE "C" NOT NULL,
    allow_private BOOLEAN NOT NULL,
    owner         TEXT    COLLATE "C" NOT NULL,
    sealed_key    BYTEA   NOT NULL,
    added_at      BIGINT  NOT NULL,
    access        TEXT    COLLATE "C" NOT NULL DEFAULT 'hook' CHECK (access IN ('hook', 'superuser')),
    page          TEXT    COLLATE "C"
);

CREATE TABLE members (
    instance_id TEXT COLLATE "C" NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    sub         TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (instance_id, sub)
);

CREATE TABLE entry_roles (
    instance_id  TEXT COLLATE "C" NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    organisation TEXT COLLATE "C" NOT NULL,
    role         TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (instance_id, organisation, role)
);

CREATE TABLE blocked (
    sub    TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    reason TEXT   COLLATE "C" NOT NULL,
    since  BIGINT NOT NULL
);

CREATE TABLE links (
    instance_id TEXT   COLLATE "C" NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    sub         TEXT   COLLATE "C" NOT NULL,
    record_id   TEXT   COLLATE "C" NOT NULL,
    since       BIGINT NOT NULL,
    until       BIGINT
);

CREATE UNIQUE INDEX current_links ON links (instance_id, sub) WHERE until IS NULL;

CREATE TABLE spent_jti (
    jti        TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    keep_until BIGINT NOT NULL
);

CREATE INDEX spent_jti_by_age ON spent_jti (keep_until);

CREATE TABLE seal_proof (
    one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    sealed BYTEA   NOT NULL
);

CREATE TABLE revocations (
    instance_id TEXT    COLLATE "C" NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    sub         TEXT    COLLATE "C" NOT NULL,
    reason      TEXT    COLLATE "C" NOT NULL,
    since       BIGINT  NOT NULL,
    asked       BIGINT  NOT NULL,
    failures    BIGINT  NOT NULL,
    next_at     BIGINT  NOT NULL,
    PRIMARY KEY (instance_id, sub)
);

CREATE INDEX revocations_by_turn ON revocations (next_at);

CREATE TABLE audit (
    seq        BIGINT NOT NULL PRIMARY KEY,
    at         BIGINT NOT NULL,
    actor_kind TEXT   COLLATE "C" NOT NULL,
    actor      TEXT   COLLATE "C" NOT NULL,
    action     TEXT   COLLATE "C" NOT NULL,
    instance   TEXT   COLLATE "C" NOT NULL,
    subject    TEXT   COLLATE "C" NOT NULL,
    detail     TEXT   COLLATE "C" NOT NULL,
    reason     TEXT   COLLATE "C" NOT NULL,
    request_id TEXT   COLLATE "C" NOT NULL,
    outcome    TEXT   COLLATE "C" NOT NULL,
    hash       BYTEA  NOT NULL
);

CREATE FUNCTION audit_is_only_added_to() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the audit is only added to'; END $$;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
FOR EACH ROW EXECUTE FUNCTION audit_is_only_added_to();

CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
FOR EACH ROW EXECUTE FUNCTION audit_is_only_added_to();

CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION audit_is_only_added_to();

CREATE TABLE audit_head (
    one        INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    sealed_key BYTEA   NOT NULL,
    seq        BIGINT  NOT NULL,
    hash       BYTEA   NOT NULL,
    proof      BYTEA   NOT NULL
);

CREATE TABLE flags (
    instance_id     TEXT   COLLATE "C" NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    sub             TEXT   COLLATE "C" NOT NULL,
    version         BIGINT NOT NULL,
    flags           TEXT   COLLATE "C" NOT NULL,
    set_at          BIGINT NOT NULL,
    applied_version BIGINT,
    applied_at      BIGINT,
    problem         TEXT   COLLATE "C" NOT NULL,
    failures        BIGINT NOT NULL,
    next_at         BIGINT NOT NULL,
    PRIMARY KEY (instance_id, sub)
);

CREATE INDEX flags_by_turn ON flags (next_at);

CREATE TABLE handoff_codes (
    hash         BYTEA   NOT NULL PRIMARY KEY,
    instance_id  TEXT    COLLATE "C" NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    sub          TEXT    COLLATE "C" NOT NULL,
    person       TEXT    COLLATE "C" NOT NULL,
    redirect_uri TEXT    COLLATE "C" NOT NULL,
    challenge    TEXT    COLLATE "C" NOT NULL,
    expires_at   BIGINT  NOT NULL,
    keep_until   BIGINT  NOT NULL,
    state        TEXT    COLLATE "C" NOT NULL CHECK (state IN ('issued', 'spent', 'entered')),
    replayed     BOOLEAN NOT NULL,
    turn         BIGINT  NOT NULL DEFAULT 0
);

CREATE INDEX handoff_codes_by_age ON handoff_codes (keep_until);
CREATE INDEX handoff_codes_by_person ON handoff_codes (sub, instance_id)
    WHERE state = 'issued';
