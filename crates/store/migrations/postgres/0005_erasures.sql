-- Receipts of erasures: what was deleted where, as JSON. They name nobody.
CREATE TABLE erasures (
    id         UUID    NOT NULL PRIMARY KEY,
    project_id UUID    NOT NULL REFERENCES projects (id),
    at         BIGINT  NOT NULL,
    receipt    TEXT    NOT NULL
);

CREATE INDEX erasures_by_project ON erasures (project_id, at);
