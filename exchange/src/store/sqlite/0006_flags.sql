-- The feature flags of people in instances, and how far each has come.
CREATE TABLE flags (
    instance_id     TEXT    NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    sub             TEXT    NOT NULL,
    version         INTEGER NOT NULL,
    -- As JSON.
    flags           TEXT    NOT NULL,
    set_at          INTEGER NOT NULL,
    -- The version that the instance has, as it last said, and since when.
    applied_version INTEGER,
    applied_at      INTEGER,
    -- Why this version is not there; empty if it is, or was not tried yet.
    problem         TEXT    NOT NULL,
    failures        INTEGER NOT NULL,
    next_at         INTEGER NOT NULL,
    PRIMARY KEY (instance_id, sub)
) STRICT, WITHOUT ROWID;

CREATE INDEX flags_by_turn ON flags (next_at);
