-- Memory: what was said or read, kept to be recalled. user_id is empty where none was named.
-- version counts the texts of a memory, revision every change of what is searched. seq is the place in the conversation or document.
CREATE TABLE memories (
    id              BLOB    NOT NULL PRIMARY KEY,
    project_id      BLOB    NOT NULL REFERENCES projects (id),
    user_id         TEXT    NOT NULL,
    conversation_id BLOB,
    message_id      BLOB    REFERENCES messages (id) ON DELETE CASCADE,
    document_id     BLOB,
    kind            TEXT    NOT NULL,
    role            TEXT,
    name            TEXT,
    seq             INTEGER NOT NULL,
    text            TEXT    NOT NULL,
    title           TEXT,
    source          TEXT,
    metadata        TEXT,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    version         INTEGER NOT NULL,
    revision        INTEGER NOT NULL
) STRICT;

CREATE INDEX memories_by_project ON memories (project_id, created_at, id);
CREATE INDEX memories_by_user ON memories (project_id, user_id, created_at, id);
CREATE INDEX memories_by_conversation ON memories (conversation_id, seq) WHERE conversation_id IS NOT NULL;
CREATE INDEX memories_by_message ON memories (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX memories_by_document ON memories (document_id, seq) WHERE document_id IS NOT NULL;
CREATE INDEX memories_by_expiry ON memories (expires_at) WHERE expires_at IS NOT NULL;

-- The texts that a memory had before.
CREATE TABLE memory_history (
    memory_id  BLOB    NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
    version    INTEGER NOT NULL,
    project_id BLOB    NOT NULL,
    text       TEXT    NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (memory_id, version)
) STRICT;

-- What is searched of a memory. A number is never given twice. owner stands for project, user and kind in one word.
CREATE TABLE memory_representations (
    number       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    memory_id    BLOB    NOT NULL REFERENCES memories (id) ON DELETE CASCADE,
    project_id   BLOB    NOT NULL,
    kind         TEXT    NOT NULL,
    part         INTEGER NOT NULL,
    owner        TEXT    NOT NULL,
    text         TEXT    NOT NULL,
    content_hash BLOB    NOT NULL,
    UNIQUE (memory_id, kind, part)
) STRICT;

CREATE INDEX memory_representations_by_owner ON memory_representations (owner, number);
CREATE INDEX memory_representations_by_hash ON memory_representations (content_hash);

-- What makes vectors. At most one is active.
CREATE TABLE embedders (
    id              BLOB    NOT NULL PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE,
    provider        TEXT    NOT NULL,
    model           TEXT    NOT NULL,
    dimensions      INTEGER NOT NULL,
    state           TEXT    NOT NULL,
    progress_number INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX embedders_active ON embedders (state) WHERE state = 'active';

-- What is still to be embedded or taken out of the index: one row for each memory, whose generation grows with each change.
CREATE TABLE memory_outbox (
    seq        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    memory_id  BLOB    NOT NULL UNIQUE,
    project_id BLOB    NOT NULL,
    generation INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX memory_outbox_due ON memory_outbox (due_at, seq);

-- Vectors by their text's hash: 32-bit floating-point numbers, the lowest byte first. The table is also the cache of embeddings.
CREATE TABLE memory_vectors (
    content_hash BLOB NOT NULL,
    embedder_id  BLOB NOT NULL REFERENCES embedders (id),
    vector       BLOB NOT NULL,
    PRIMARY KEY (content_hash, embedder_id)
) STRICT;

-- The words of representations. The owner stands in the index, so that a search never leaves it.
CREATE VIRTUAL TABLE memory_terms USING fts5 (
    owner, text,
    content = 'memory_representations', content_rowid = 'number',
    tokenize = "unicode61 remove_diacritics 2"
);
INSERT INTO memory_terms (memory_terms, rank) VALUES ('secure-delete', 1);
-- The owner is not what fits, only where it is searched.
INSERT INTO memory_terms (memory_terms, rank) VALUES ('rank', 'bm25(0.0, 1.0)');

-- A representation's words and vectors come and go with it, whatever deletes it.
CREATE TRIGGER memory_terms_insert AFTER INSERT ON memory_representations BEGIN
    INSERT INTO memory_terms (rowid, owner, text) VALUES (new.number, new.owner, new.text);
END;
CREATE TRIGGER memory_terms_delete AFTER DELETE ON memory_representations
WHEN EXISTS (SELECT 1 FROM memory_terms_docsize WHERE id = old.number) BEGIN
    INSERT INTO memory_terms (memory_terms, rowid, owner, text) VALUES ('delete', old.number, old.owner, old.text);
END;
CREATE TRIGGER memory_vectors_delete AFTER DELETE ON memory_representations BEGIN
    DELETE FROM memory_vectors WHERE content_hash = old.content_hash
        AND NOT EXISTS (SELECT 1 FROM memory_representations WHERE content_hash = old.content_hash);
END;
