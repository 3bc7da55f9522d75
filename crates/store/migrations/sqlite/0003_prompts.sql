-- A prompt: its name, and what its versions share. last_version is the highest number that was ever given: numbers are not
-- given twice. tags is a JSON array.
CREATE TABLE prompts (
    id           BLOB    NOT NULL PRIMARY KEY,
    project_id   BLOB    NOT NULL REFERENCES projects (id),
    name         TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    tags         TEXT    NOT NULL,
    last_version INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    UNIQUE (project_id, name),
    UNIQUE (project_id, id)
) STRICT;

-- Versions are never changed. body and config are JSON. updated_at tells when a label came or went.
CREATE TABLE prompt_versions (
    project_id     BLOB    NOT NULL,
    prompt_id      BLOB    NOT NULL,
    version        INTEGER NOT NULL,
    body           TEXT    NOT NULL,
    config         TEXT    NOT NULL,
    commit_message TEXT,
    author         TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    PRIMARY KEY (prompt_id, version),
    FOREIGN KEY (project_id, prompt_id) REFERENCES prompts (project_id, id) ON DELETE CASCADE
) STRICT;

-- A label points to one version. `latest` is not kept: it is the highest.
CREATE TABLE prompt_labels (
    project_id BLOB    NOT NULL,
    prompt_id  BLOB    NOT NULL,
    label      TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    PRIMARY KEY (prompt_id, label),
    FOREIGN KEY (prompt_id, version) REFERENCES prompt_versions (prompt_id, version) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX prompt_labels_by_version ON prompt_labels (prompt_id, version);

-- Which prompts stand in which: child_version or child_label says which version.
CREATE TABLE prompt_references (
    project_id    BLOB    NOT NULL,
    prompt_id     BLOB    NOT NULL,
    version       INTEGER NOT NULL,
    child_name    TEXT    NOT NULL,
    child_version INTEGER,
    child_label   TEXT,
    FOREIGN KEY (prompt_id, version) REFERENCES prompt_versions (prompt_id, version) ON DELETE CASCADE
) STRICT;

CREATE INDEX prompt_references_by_version ON prompt_references (prompt_id, version);
CREATE INDEX prompt_references_by_child ON prompt_references (project_id, child_name);

-- Labels that only administrators move.
CREATE TABLE protected_labels (
    project_id BLOB NOT NULL REFERENCES projects (id),
    label      TEXT NOT NULL,
    PRIMARY KEY (project_id, label)
) STRICT, WITHOUT ROWID;

-- When the prompts to begin with were put in: what was deleted since does not come back.
ALTER TABLE projects ADD COLUMN prompts_begun_at INTEGER;

INSERT INTO revisions (name, version) VALUES ('prompts', 0);
