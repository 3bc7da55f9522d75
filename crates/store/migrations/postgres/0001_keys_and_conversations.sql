-- Ids are UUIDs (version 7), times are UTC microseconds since 1970.

CREATE TABLE projects (
    id         UUID   NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    created_at BIGINT  NOT NULL
);

CREATE TABLE api_keys (
    id         UUID   NOT NULL PRIMARY KEY,
    project_id UUID    NOT NULL REFERENCES projects (id),
    public_id  TEXT    NOT NULL UNIQUE,
    hash       BYTEA   NOT NULL,
    name       TEXT    NOT NULL,
    user_id    TEXT    NOT NULL,
    created_at BIGINT  NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);

-- A number that grows with each change of what servers keep in memory, so that another process's change is seen.
CREATE TABLE revisions (
    name    TEXT    NOT NULL PRIMARY KEY,
    version BIGINT  NOT NULL
);

INSERT INTO revisions (name, version) VALUES ('api_keys', 0);

CREATE TABLE conversations (
    id         UUID   NOT NULL PRIMARY KEY,
    project_id UUID    NOT NULL REFERENCES projects (id),
    user_id    TEXT    NOT NULL,
    created_at BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL
);

-- Pages of a project, and what messages refer to: a message cannot be of another project than its conversation.
CREATE UNIQUE INDEX conversations_by_project ON conversations (project_id, id);

-- seq orders the messages of a conversation: microseconds of their making, never given twice by one server.
-- payload is the whole message in the canonical form (JSON), where it is more than its text.
CREATE TABLE messages (
    id              UUID   NOT NULL PRIMARY KEY,
    conversation_id UUID    NOT NULL,
    project_id      UUID    NOT NULL,
    seq             BIGINT  NOT NULL,
    role            TEXT    NOT NULL,
    name            TEXT,
    content         TEXT    NOT NULL,
    payload         TEXT,
    status          TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    FOREIGN KEY (project_id, conversation_id) REFERENCES conversations (project_id, id) ON DELETE CASCADE
);

CREATE INDEX messages_by_conversation ON messages (conversation_id, seq);
