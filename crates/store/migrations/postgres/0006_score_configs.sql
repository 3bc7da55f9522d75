-- What scores that name a configuration must be like. categories is a JSON array of {value, label}.
CREATE TABLE score_configs (
    id          UUID             NOT NULL PRIMARY KEY,
    project_id  UUID             NOT NULL REFERENCES projects (id),
    name        TEXT             NOT NULL,
    score_type  TEXT             NOT NULL,
    categories  TEXT             NOT NULL,
    minimum     DOUBLE PRECISION,
    maximum     DOUBLE PRECISION,
    description TEXT,
    is_archived BOOLEAN          NOT NULL,
    created_at  BIGINT           NOT NULL,
    updated_at  BIGINT           NOT NULL
);
CREATE INDEX score_configs_of_project ON score_configs (project_id, created_at);
