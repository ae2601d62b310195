-- The instance's own page, to which a login may be handed.
ALTER TABLE instances ADD COLUMN page TEXT;

-- Codes of the hand-off, each by its SHA-256. One that was redeemed stays for a while, so that
-- somebody who redeems it again is noticed.
CREATE TABLE handoff_codes (
    hash         BLOB    NOT NULL PRIMARY KEY,
    instance_id  TEXT    NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    sub          TEXT    NOT NULL,
    -- What else the gate vouched for, as JSON; empty once the code is spent.
    person       TEXT    NOT NULL,
    redirect_uri TEXT    NOT NULL,
    challenge    TEXT    NOT NULL,
    expires_at   INTEGER NOT NULL,
    keep_until   INTEGER NOT NULL,
    -- spent: redeemed, without a session (yet); entered: with one.
    state        TEXT    NOT NULL CHECK (state IN ('issued', 'spent', 'entered')),
    -- Whether somebody tried to redeem it again.
    replayed     INTEGER NOT NULL CHECK (replayed IN (0, 1))
) STRICT;

CREATE INDEX handoff_codes_by_age ON handoff_codes (keep_until);
CREATE INDEX handoff_codes_by_person ON handoff_codes (sub, instance_id)
    WHERE state = 'issued';
