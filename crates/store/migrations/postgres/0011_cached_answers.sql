-- Answers kept for the same question, where a key or a request asks for that.
CREATE TABLE cached_answers (
    project_id      UUID    NOT NULL,
    -- Of the whole canonical request and of the models that may answer it.
    request_hash    BYTEA   NOT NULL,
    -- Whose question it was, and the conversation that keeps it: with them the answer goes.
    user_id         TEXT    NOT NULL,
    conversation_id UUID,
    provider        TEXT    NOT NULL,
    model           TEXT    NOT NULL,
    -- The canonical answer as JSON, and its length.
    answer          TEXT    NOT NULL,
    bytes           BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    PRIMARY KEY (project_id, request_hash)
);

CREATE INDEX cached_answers_by_expiry ON cached_answers (expires_at);
CREATE INDEX cached_answers_by_age ON cached_answers (created_at);
CREATE INDEX cached_answers_by_user ON cached_answers (project_id, user_id);
CREATE INDEX cached_answers_by_conversation ON cached_answers (conversation_id);
