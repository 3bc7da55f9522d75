-- Descriptions of memories by a model: a row for each memory whose text is worth one, with what is still to be done of it and what was.
-- state is waiting, made or given_up; version is that of the text, and generation grows whenever it is to be described anew. said_at is
-- when the memory was said: the newest come first. previous_id and next_id are what else the model is shown: what becomes of those makes
-- the description void.
CREATE TABLE memory_descriptions (
    memory_id   UUID    NOT NULL PRIMARY KEY REFERENCES memories (id) ON DELETE CASCADE,
    project_id  UUID    NOT NULL,
    said_at     BIGINT  NOT NULL,
    version     BIGINT  NOT NULL,
    generation  BIGINT  NOT NULL,
    state       TEXT    NOT NULL,
    attempts    BIGINT  NOT NULL,
    due_at      BIGINT  NOT NULL,
    previous_id UUID,
    next_id     UUID
);

CREATE INDEX memory_descriptions_waiting ON memory_descriptions (project_id, said_at, memory_id) WHERE state = 'waiting';
CREATE INDEX memory_descriptions_by_previous ON memory_descriptions (previous_id) WHERE previous_id IS NOT NULL;
CREATE INDEX memory_descriptions_by_next ON memory_descriptions (next_id) WHERE next_id IS NOT NULL;

-- When the project got the prompt that describes: deleted, it does not come again.
ALTER TABLE projects ADD COLUMN describing_begun_at BIGINT;
