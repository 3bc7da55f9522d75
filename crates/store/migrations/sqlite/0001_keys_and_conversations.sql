-- Ids are 16-byte UUIDs (version 7), times are UTC microseconds since 1970.

CREATE TABLE projects (
    id         BLOB    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE api_keys (
    id         BLOB    NOT NULL PRIMARY KEY,
    project_id BLOB    NOT NULL REFERENCES projects (id),
    public_id  TEXT    NOT NULL UNIQUE,
    hash       BLOB    NOT NULL,
    name       TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;

-- A number that grows with each change of what servers keep in memory, so that another process's change is seen.
CREATE TABLE revisions (
    name    TEXT    NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT;

INSERT INTO revisions (name, version) VALUES ('api_keys', 0);

CREATE TABLE conversations (
    id         BLOB    NOT NULL PRIMARY KEY,
    project_id BLOB    NOT NULL REFERENCES projects (id),
    user_id    TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- Pages of a project, and what messages refer to: a message cannot be of another project than its conversation.
CREATE UNIQUE INDEX conversations_by_project ON conversations (project_id, id);

-- seq orders the messages of a conversation: microseconds of their making, never given twice by one server.
-- payload is the whole message in the canonical form (JSON), where it is more than its text.
CREATE TABLE messages (
    id              BLOB    NOT NULL PRIMARY KEY,
    conversation_id BLOB    NOT NULL,
    project_id      BLOB    NOT NULL,
    seq             INTEGER NOT NULL,
    role            TEXT    NOT NULL,
    name            TEXT,
    content         TEXT    NOT NULL,
    payload         TEXT,
    status          TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    FOREIGN KEY (project_id, conversation_id) REFERENCES conversations (project_id, id) ON DELETE CASCADE
) STRICT;

CREATE INDEX messages_by_conversation ON messages (conversation_id, seq);
