-- Responses of the Responses API that are kept, and what of their conversation is theirs.
-- A response's thread is that of its parent and its own messages; without a parent, the messages of the conversation up to history_seq
-- and its own. family_id is the key that asked, with all that follow it. record is the response without its output (JSON), NULL once
-- the response was deleted while others went on from it.
CREATE TABLE responses (
    id              BLOB    NOT NULL PRIMARY KEY,
    project_id      BLOB    NOT NULL,
    family_id       BLOB    NOT NULL,
    conversation_id BLOB    NOT NULL,
    parent_id       BLOB,
    history_seq     INTEGER NOT NULL,
    record          TEXT,
    created_at      INTEGER NOT NULL,
    FOREIGN KEY (project_id, conversation_id) REFERENCES conversations (project_id, id) ON DELETE CASCADE
) STRICT;

CREATE INDEX responses_by_conversation ON responses (project_id, conversation_id);

-- is_output is 1 for what the model answered, 0 for what it was asked.
CREATE TABLE response_messages (
    response_id BLOB    NOT NULL REFERENCES responses (id) ON DELETE CASCADE,
    message_id  BLOB    NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    is_output   INTEGER NOT NULL,
    PRIMARY KEY (response_id, message_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX response_messages_by_message ON response_messages (message_id);
