-- Receipts of erasures: what was deleted where, as JSON. They name nobody.
CREATE TABLE erasures (
    id         BLOB    NOT NULL PRIMARY KEY,
    project_id BLOB    NOT NULL REFERENCES projects (id),
    at         INTEGER NOT NULL,
    receipt    TEXT    NOT NULL
) STRICT;

CREATE INDEX erasures_by_project ON erasures (project_id, at);
