-- The ledger of AI usage in PostgreSQL; the same tables as exchange/src/store/sqlite/0002_usage.sql.
-- The checks and the partial indexes are what Prisma's schema cannot say.

CREATE TABLE "usage_metrics" (
    "id"                  BIGSERIAL PRIMARY KEY,
    "request_id"          TEXT    NOT NULL,
    "attempt"             INTEGER NOT NULL CHECK ("attempt" BETWEEN 1 AND 99),
    "subject"             TEXT    NOT NULL,
    "org"                 TEXT    NOT NULL,
    "plan"                TEXT    NOT NULL,
    "billed"              BOOLEAN NOT NULL,
    "provider"            TEXT    NOT NULL,
    "model"               TEXT    NOT NULL,
    "endpoint"            TEXT    NOT NULL,
    "stream"              BOOLEAN NOT NULL,
    "route"               TEXT    NOT NULL,
    "state"               TEXT    NOT NULL CHECK ("state" IN ('open', 'settled')),
    "reserved_at"         BIGINT  NOT NULL,
    "closes_at"           BIGINT  NOT NULL,
    "settled_at"          BIGINT  CHECK (("settled_at" IS NULL) = ("state" = 'open')),
    "reserved_input"      INTEGER NOT NULL,
    "reserved_output"     INTEGER NOT NULL,
    "reserved_cost_nano"  BIGINT  NOT NULL,
    "requests"            INTEGER NOT NULL CHECK ("requests" IN (0, 1)),
    "input_tokens"        INTEGER NOT NULL,
    "cached_tokens"       INTEGER NOT NULL,
    "output_tokens"       INTEGER NOT NULL,
    "reasoning_tokens"    INTEGER NOT NULL,
    "audio_tokens"        INTEGER NOT NULL,
    "cost_nano"           BIGINT  NOT NULL,
    "currency"            TEXT    NOT NULL,
    "usage_source"        TEXT    CHECK (("usage_source" IS NULL) = ("state" = 'open')),
    "end_reason"          TEXT    CHECK (("end_reason" IS NULL) = ("state" = 'open')),
    "status"              INTEGER,
    "provider_request_id" TEXT,
    "first_token_ms"      BIGINT,
    "duration_ms"         BIGINT,
    "metered"             BOOLEAN NOT NULL DEFAULT false,
    "metered_input"       INTEGER NOT NULL DEFAULT 0,
    "metered_output"      INTEGER NOT NULL DEFAULT 0,
    "metered_cost_nano"   BIGINT  NOT NULL DEFAULT 0
);

CREATE UNIQUE INDEX "usage_metrics_request_id_attempt_key" ON "usage_metrics" ("request_id", "attempt");
CREATE INDEX "usage_metrics_by_time" ON "usage_metrics" ("reserved_at");
CREATE INDEX "usage_metrics_by_subject" ON "usage_metrics" ("subject", "reserved_at");
CREATE INDEX "usage_metrics_by_org" ON "usage_metrics" ("org", "reserved_at");
CREATE INDEX "usage_metrics_open" ON "usage_metrics" ("closes_at") WHERE "state" = 'open';
CREATE INDEX "usage_metrics_unmetered" ON "usage_metrics" ("reserved_at")
    WHERE NOT "metered" AND "billed" AND "state" = 'settled';

CREATE TABLE "usage_windows" (
    "scope"     TEXT   NOT NULL,
    "who"       TEXT   NOT NULL,
    "starts_at" BIGINT NOT NULL,
    "ends_at"   BIGINT NOT NULL,
    "requests"  BIGINT NOT NULL,
    "tokens"    BIGINT NOT NULL,
    "cost_nano" BIGINT NOT NULL,
    PRIMARY KEY ("scope", "who", "starts_at", "ends_at")
);

CREATE INDEX "usage_windows_by_age" ON "usage_windows" ("ends_at");

CREATE TABLE "usage_outbox" (
    "id"         BIGSERIAL PRIMARY KEY,
    "identifier" TEXT   NOT NULL,
    "event_name" TEXT   NOT NULL,
    "subject"    TEXT   NOT NULL,
    "org"        TEXT   NOT NULL,
    "plan"       TEXT   NOT NULL,
    "provider"   TEXT   NOT NULL,
    "model"      TEXT   NOT NULL,
    "currency"   TEXT   NOT NULL,
    "hour"       BIGINT NOT NULL,
    "value"      BIGINT NOT NULL,
    "created_at" BIGINT NOT NULL
);

CREATE UNIQUE INDEX "usage_outbox_identifier_key" ON "usage_outbox" ("identifier");
