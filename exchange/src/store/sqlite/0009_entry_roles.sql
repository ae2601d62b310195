-- Roles that let people into an instance: whoever has one from that organisation may enter.
CREATE TABLE entry_roles (
    instance_id  TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    organisation TEXT NOT NULL,
    role         TEXT NOT NULL,
    PRIMARY KEY (instance_id, organisation, role)
) STRICT, WITHOUT ROWID;
