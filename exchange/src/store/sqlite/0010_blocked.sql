-- People who may enter no instance, whoever lets them in, until an admin says otherwise.
CREATE TABLE blocked (
    sub    TEXT    NOT NULL PRIMARY KEY,
    reason TEXT    NOT NULL,
    since  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
