-- Statements are the same for SQLite and PostgreSQL since this step.

-- In which order a person's codes for an instance were given out; what a rowid told before.
ALTER TABLE handoff_codes ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;

-- Truth values have a type of their own in PostgreSQL, so they are not compared with 0 and 1; and
-- an index is only used where its condition is asked for in the same words.
DROP INDEX usage_metrics_unmetered;
CREATE INDEX usage_metrics_unmetered ON usage_metrics (reserved_at)
    WHERE NOT metered AND billed AND state = 'settled';
