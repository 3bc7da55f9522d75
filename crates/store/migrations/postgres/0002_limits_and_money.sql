-- Money is nano-dollars. A key and its successors (rotation) are one family, which its budgets follow.

ALTER TABLE api_keys ADD COLUMN family_id UUID;
ALTER TABLE api_keys ADD COLUMN scopes TEXT NOT NULL DEFAULT 'chat embeddings read';
-- Allowed models, rates, concurrency and budgets, as JSON.
ALTER TABLE api_keys ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
ALTER TABLE api_keys ADD COLUMN last_used_at BIGINT;
UPDATE api_keys SET family_id = id;

-- A process that spends. Once fenced it takes no more holds; what it had granted and not used went back.
CREATE TABLE replicas (
    id         UUID    NOT NULL PRIMARY KEY,
    started_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    fenced_at  BIGINT
);

-- A budget's window: its row is locked while slices of it are granted. wanted_at tells that a replica came up short.
CREATE TABLE budget_windows (
    budget       TEXT    NOT NULL,
    window_start BIGINT NOT NULL,
    wanted_at    BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (budget, window_start)
);

-- A replica's slice of a window: it never holds and settles more than was granted, and the grants of a window never exceed
-- the budget.
CREATE TABLE budget_slices (
    budget        TEXT    NOT NULL,
    window_start  BIGINT NOT NULL,
    replica_id    UUID    NOT NULL REFERENCES replicas (id),
    granted_nanos BIGINT NOT NULL,
    settled_nanos BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (budget, window_start, replica_id),
    FOREIGN KEY (budget, window_start) REFERENCES budget_windows (budget, window_start)
);

CREATE INDEX budget_slices_by_replica ON budget_slices (replica_id);

-- Calls under way, or cut off by the death of their process: the most that they can cost. charges is a JSON array of
-- [budget, window_start]; price names the row of the price book.
CREATE TABLE holds (
    id         UUID    NOT NULL PRIMARY KEY,
    replica_id UUID    NOT NULL,
    project_id UUID    NOT NULL,
    key_id     UUID    NOT NULL,
    user_id    TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    provider   TEXT    NOT NULL,
    model      TEXT    NOT NULL,
    hold_nanos BIGINT NOT NULL,
    price      TEXT,
    charges    TEXT    NOT NULL,
    created_at BIGINT NOT NULL
);

-- The ledger: what each call did cost. Rows are only ever added. bill is a JSON array of [kind of tokens, how many,
-- nano-dollars for a million of them].
CREATE TABLE calls (
    id             UUID    NOT NULL PRIMARY KEY,
    project_id     UUID    NOT NULL,
    key_id         UUID    NOT NULL,
    user_id        TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    provider       TEXT    NOT NULL,
    model          TEXT    NOT NULL,
    outcome        TEXT    NOT NULL,
    hold_nanos     BIGINT NOT NULL,
    cost_nanos     BIGINT NOT NULL,
    input          BIGINT NOT NULL,
    cached_input   BIGINT NOT NULL,
    cache_write_5m BIGINT NOT NULL,
    cache_write_1h BIGINT NOT NULL,
    audio_input    BIGINT NOT NULL,
    image_input    BIGINT NOT NULL,
    output         BIGINT NOT NULL,
    reasoning      BIGINT NOT NULL,
    audio_output   BIGINT NOT NULL,
    image_output   BIGINT NOT NULL,
    usage_source   TEXT    NOT NULL,
    tier           TEXT,
    price          TEXT,
    bill           TEXT,
    charges        TEXT    NOT NULL,
    created_at     BIGINT NOT NULL,
    settled_at     BIGINT NOT NULL
);

-- The latest requests of known keys that a limit refused, so that `privet explain` can say why. Old rows are dropped.
CREATE TABLE refusals (
    id         UUID    NOT NULL PRIMARY KEY,
    at         BIGINT NOT NULL,
    gate       TEXT    NOT NULL,
    project_id UUID    NOT NULL,
    key_id     UUID    NOT NULL,
    model      TEXT,
    reason     TEXT    NOT NULL
);

-- What is switched off: `global`, `key/ID`, `provider/NAME`.
CREATE TABLE switches (
    scope  TEXT    NOT NULL PRIMARY KEY,
    reason TEXT    NOT NULL,
    at     BIGINT NOT NULL
);

INSERT INTO revisions (name, version) VALUES ('switches', 0);

-- Answers kept for requests with an Idempotency-Key; status is NULL while the first is in flight, body where it was too large.
-- key_id is the first key of its line.
CREATE TABLE idempotency (
    key_id          UUID    NOT NULL,
    idempotency_key TEXT    NOT NULL,
    request_hash    BYTEA   NOT NULL,
    request_id      UUID    NOT NULL,
    replica_id      UUID    NOT NULL,
    created_at      BIGINT NOT NULL,
    status          BIGINT,
    headers         TEXT,
    body            BYTEA,
    PRIMARY KEY (key_id, idempotency_key)
);

CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- Budget alerts to deliver, and those delivered: one for each window and percentage.
CREATE TABLE budget_alerts (
    id           UUID    NOT NULL PRIMARY KEY,
    budget       TEXT    NOT NULL,
    window_start BIGINT NOT NULL,
    percent      BIGINT NOT NULL,
    body         TEXT    NOT NULL,
    created_at   BIGINT NOT NULL,
    attempts     BIGINT NOT NULL DEFAULT 0,
    next_at      BIGINT NOT NULL,
    delivered_at BIGINT,
    given_up_at  BIGINT,
    UNIQUE (budget, window_start, percent)
);

CREATE INDEX budget_alerts_due ON budget_alerts (next_at) WHERE delivered_at IS NULL AND given_up_at IS NULL;
