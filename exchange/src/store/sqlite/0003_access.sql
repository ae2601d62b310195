-- How the exchange gets into an instance; `sealed_key` is what opens it that way.
ALTER TABLE instances ADD COLUMN access TEXT NOT NULL DEFAULT 'hook'
    CHECK (access IN ('hook', 'superuser'));
