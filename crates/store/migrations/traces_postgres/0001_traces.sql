-- Traces: large, and they expire. Instants are nanoseconds since 1970 (UTC), money is nano-dollars. Ids are packed: 16 bytes for 32
-- hexadecimal digits, 8 for 16, anything else with a byte in front (see stored_id.rs). Inputs and outputs are encoded by body.rs:
-- in the row, or as a reference to `bodies`. touched_minute, in
-- minutes since 1970, is when a body was last used, and when a trace or a score was first written: by it they expire.

-- Content, by its hash. A message of a thread has the message before it as parent, and its hash covers all before it: a prefix
-- that threads share is stored once.
CREATE TABLE bodies (
    hash           BYTEA   NOT NULL PRIMARY KEY,
    parent         BYTEA,
    content        BYTEA   NOT NULL,
    touched_minute BIGINT  NOT NULL
);

CREATE INDEX bodies_by_age ON bodies (touched_minute);

-- The last columns are joined from the trace's observations. origins tells which patch set which field.
CREATE TABLE traces (
    project_id     UUID    NOT NULL,
    id             BYTEA   NOT NULL,
    started_at     BIGINT  NOT NULL,
    name           TEXT,
    user_id        TEXT,
    session_id     TEXT,
    environment    TEXT    NOT NULL,
    release        TEXT,
    version        TEXT,
    public         BIGINT  NOT NULL,
    tags           TEXT,
    metadata       TEXT,
    input          BYTEA,
    output         BYTEA,
    origins        TEXT    NOT NULL,
    touched_minute BIGINT  NOT NULL,
    ended_at       BIGINT,
    observations   BIGINT  NOT NULL,
    errors         BIGINT  NOT NULL,
    input_tokens   BIGINT  NOT NULL,
    output_tokens  BIGINT  NOT NULL,
    total_tokens   BIGINT  NOT NULL,
    cost_nanos     BIGINT  NOT NULL,
    PRIMARY KEY (project_id, id)
);

CREATE INDEX traces_by_time ON traces (project_id, started_at);
CREATE INDEX traces_by_user ON traces (project_id, user_id, started_at) WHERE user_id IS NOT NULL;
CREATE INDEX traces_by_session ON traces (project_id, session_id, started_at) WHERE session_id IS NOT NULL;
CREATE INDEX traces_by_age ON traces (touched_minute);

-- usage and cost are JSON objects: tokens and nano-dollars by kind. resource is what all spans of a process have in common.
CREATE TABLE observations (
    project_id       UUID    NOT NULL,
    id               BYTEA   NOT NULL,
    trace_id         BYTEA   NOT NULL,
    parent_id        BYTEA,
    type             TEXT    NOT NULL,
    name             TEXT,
    started_at       BIGINT  NOT NULL,
    ended_at         BIGINT,
    first_token_at   BIGINT,
    folded_at        BIGINT  NOT NULL,
    level            TEXT    NOT NULL,
    status_message   TEXT,
    version          TEXT,
    environment      TEXT    NOT NULL,
    input            BYTEA,
    output           BYTEA,
    metadata         TEXT,
    resource         BYTEA,
    model            TEXT,
    model_parameters TEXT,
    usage            TEXT,
    cost             TEXT,
    prompt_name      TEXT,
    prompt_version   BIGINT,
    input_tokens     BIGINT  NOT NULL,
    output_tokens    BIGINT  NOT NULL,
    total_tokens     BIGINT  NOT NULL,
    cost_nanos       BIGINT  NOT NULL,
    PRIMARY KEY (project_id, id)
);

CREATE INDEX observations_by_trace ON observations (project_id, trace_id, started_at);
CREATE INDEX observations_by_time ON observations (project_id, started_at);

CREATE TABLE scores (
    project_id     UUID    NOT NULL,
    id             BYTEA   NOT NULL,
    trace_id       BYTEA,
    observation_id BYTEA,
    session_id     TEXT,
    dataset_run_id TEXT,
    name           TEXT    NOT NULL,
    type           TEXT    NOT NULL,
    value          DOUBLE PRECISION  NOT NULL,
    text           TEXT,
    comment        TEXT,
    source         TEXT    NOT NULL,
    author_user_id TEXT,
    config_id      TEXT,
    environment    TEXT    NOT NULL,
    metadata       TEXT,
    scored_at      BIGINT  NOT NULL,
    created_at     BIGINT  NOT NULL,
    updated_at     BIGINT  NOT NULL,
    touched_minute BIGINT  NOT NULL,
    PRIMARY KEY (project_id, id)
);

CREATE INDEX scores_by_time ON scores (project_id, scored_at);
CREATE INDEX scores_by_trace ON scores (project_id, trace_id) WHERE trace_id IS NOT NULL;
CREATE INDEX scores_by_session ON scores (project_id, session_id) WHERE session_id IS NOT NULL;
CREATE INDEX scores_by_age ON scores (touched_minute);

-- Sums of a day (days since 1970, UTC), kept as traces arrive: `all`, and by model, prompt, user, tag and name of the trace. They
-- stay when traces expire.
CREATE TABLE daily_metrics (
    project_id    UUID    NOT NULL,
    day           BIGINT  NOT NULL,
    dimension     TEXT    NOT NULL,
    value         TEXT    NOT NULL,
    environment   TEXT    NOT NULL,
    traces        BIGINT  NOT NULL,
    observations  BIGINT  NOT NULL,
    errors        BIGINT  NOT NULL,
    input_tokens  BIGINT  NOT NULL,
    output_tokens BIGINT  NOT NULL,
    total_tokens  BIGINT  NOT NULL,
    cost_nanos    BIGINT  NOT NULL,
    ended         BIGINT  NOT NULL,
    latency_ms    BIGINT  NOT NULL,
    PRIMARY KEY (project_id, dimension, day, value, environment)
);

-- Observations that ended and are still to be sent to a collector.
CREATE TABLE export_queue (
    seq            BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id     UUID    NOT NULL,
    observation_id BYTEA   NOT NULL
);

-- What still waits keeps its trace.
CREATE INDEX export_queue_by_observation ON export_queue (project_id, observation_id);

-- Counts the erasures: content that a server remembers as stored may be gone after one.
CREATE TABLE body_generation (
    id         BIGINT  NOT NULL PRIMARY KEY,
    generation BIGINT  NOT NULL
);

INSERT INTO body_generation (id, generation) VALUES (1, 0);
