-- What scores that name a configuration must be like. categories is a JSON array of {value, label}.
CREATE TABLE score_configs (
    id          BLOB    NOT NULL PRIMARY KEY,
    project_id  BLOB    NOT NULL REFERENCES projects (id),
    name        TEXT    NOT NULL,
    score_type  TEXT    NOT NULL,
    categories  TEXT    NOT NULL,
    minimum     REAL,
    maximum     REAL,
    description TEXT,
    is_archived INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX score_configs_of_project ON score_configs (project_id, created_at);
