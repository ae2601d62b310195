-- The ledger of AI usage in PostgreSQL; the same tables as exchange/src/store/sqlite/0002_usage.sql.
-- The checks and the partial indexes are what Prisma's schema cannot say.

CREATE TABLE IF NOT EXISTS "usage_metrics" (
    "id"                  BIGSERIAL PRIMARY KEY,
    "request_id"          TEXT COLLATE "C" NOT NULL,
    "attempt"             INTEGER NOT NULL CHECK ("attempt" BETWEEN 1 AND 99),
    "subject"             TEXT COLLATE "C" NOT NULL,
    "org"                 TEXT COLLATE "C" NOT NULL,
    "plan"                TEXT COLLATE "C" NOT NULL,
    "billed"              BOOLEAN NOT NULL,
    "provider"            TEXT COLLATE "C" NOT NULL,
    "model"               TEXT COLLATE "C" NOT NULL,
    "endpoint"            TEXT COLLATE "C" NOT NULL,
    "stream"              BOOLEAN NOT NULL,
    "route"               TEXT COLLATE "C" NOT NULL,
    "state"               TEXT COLLATE "C" NOT NULL CHECK ("state" IN ('open', 'settled')),
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
    "currency"            TEXT COLLATE "C" NOT NULL,
    "usage_source"        TEXT COLLATE "C" CHECK (("usage_source" IS NULL) = ("state" = 'open')),
    "end_reason"          TEXT COLLATE "C" CHECK (("end_reason" IS NULL) = ("state" = 'open')),
    "status"              INTEGER,
    "provider_request_id" TEXT COLLATE "C",
    "first_token_ms"      BIGINT,
    "duration_ms"         BIGINT,
    "metered"             BOOLEAN NOT NULL DEFAULT false,
    "metered_input"       INTEGER NOT NULL DEFAULT 0,
    "metered_output"      INTEGER NOT NULL DEFAULT 0,
    "metered_cost_nano"   BIGINT  NOT NULL DEFAULT 0
);

CREATE UNIQUE INDEX IF NOT EXISTS "usage_metrics_request_id_attempt_key" ON "usage_metrics" ("request_id", "attempt");
CREATE INDEX IF NOT EXISTS "usage_metrics_by_time" ON "usage_metrics" ("reserved_at");
CREATE INDEX IF NOT EXISTS "usage_metrics_by_subject" ON "usage_metrics" ("subject", "reserved_at");
CREATE INDEX IF NOT EXISTS "usage_metrics_by_org" ON "usage_metrics" ("org", "reserved_at");
CREATE INDEX IF NOT EXISTS "usage_metrics_open" ON "usage_metrics" ("closes_at") WHERE "state" = 'open';
CREATE INDEX IF NOT EXISTS "usage_metrics_unmetered" ON "usage_metrics" ("reserved_at")
    WHERE NOT "metered" AND "billed" AND "state" = 'settled';

CREATE TABLE IF NOT EXISTS "usage_windows" (
    "scope"     TEXT COLLATE "C" NOT NULL,
    "who"       TEXT COLLATE "C" NOT NULL,
    "starts_at" BIGINT NOT NULL,
    "ends_at"   BIGINT NOT NULL,
    "requests"  BIGINT NOT NULL,
    "tokens"    BIGINT NOT NULL,
    "cost_nano" BIGINT NOT NULL,
    PRIMARY KEY ("scope", "who", "starts_at", "ends_at")
);

CREATE INDEX IF NOT EXISTS "usage_windows_by_age" ON "usage_windows" ("ends_at");

CREATE TABLE IF NOT EXISTS "usage_outbox" (
    "id"         BIGSERIAL PRIMARY KEY,
    "identifier" TEXT COLLATE "C" NOT NULL,
    "event_name" TEXT COLLATE "C" NOT NULL,
    "subject"    TEXT COLLATE "C" NOT NULL,
    "org"        TEXT COLLATE "C" NOT NULL,
    "plan"       TEXT COLLATE "C" NOT NULL,
    "provider"   TEXT COLLATE "C" NOT NULL,
    "model"      TEXT COLLATE "C" NOT NULL,
    "currency"   TEXT COLLATE "C" NOT NULL,
    "hour"       BIGINT NOT NULL,
    "value"      BIGINT NOT NULL,
    "created_at" BIGINT NOT NULL
);

CREATE UNIQUE INDEX IF NOT EXISTS "usage_outbox_identifier_key" ON "usage_outbox" ("identifier");
