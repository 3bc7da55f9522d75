-- Money is nano-dollars. A key and its successors (rotation) are one family, which its budgets follow.

ALTER TABLE api_keys ADD COLUMN family_id BLOB;
ALTER TABLE api_keys ADD COLUMN scopes TEXT NOT NULL DEFAULT 'chat embeddings read';
-- Allowed models, rates, concurrency and budgets, as JSON.
ALTER TABLE api_keys ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
ALTER TABLE api_keys ADD COLUMN last_used_at INTEGER;
UPDATE api_keys SET family_id = id;

-- A process that spends. Once fenced it takes no more holds; what it had granted and not used went back.
CREATE TABLE replicas (
    id         BLOB    NOT NULL PRIMARY KEY,
    started_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    fenced_at  INTEGER
) STRICT;

-- A budget's window: its row is locked while slices of it are granted. wanted_at tells that a replica came up short.
CREATE TABLE budget_windows (
    budget       TEXT    NOT NULL,
    window_start INTEGER NOT NULL,
    wanted_at    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (budget, window_start)
) STRICT;

-- A replica's slice of a window: it never holds and settles more than was granted, and the grants of a window never exceed
-- the budget.
CREATE TABLE budget_slices (
    budget        TEXT    NOT NULL,
    window_start  INTEGER NOT NULL,
    replica_id    BLOB    NOT NULL REFERENCES replicas (id),
    granted_nanos INTEGER NOT NULL,
    settled_nanos INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (budget, window_start, replica_id),
    FOREIGN KEY (budget, window_start) REFERENCES budget_windows (budget, window_start)
) STRICT, WITHOUT ROWID;

CREATE INDEX budget_slices_by_replica ON budget_slices (replica_id);

-- Calls under way, or cut off by the death of their process: the most that they can cost. charges is a JSON array of
-- [budget, window_start]; price names the row of the price book.
CREATE TABLE holds (
    id         BLOB    NOT NULL PRIMARY KEY,
    replica_id BLOB    NOT NULL,
    project_id BLOB    NOT NULL,
    key_id     BLOB    NOT NULL,
    user_id    TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    provider   TEXT    NOT NULL,
    model      TEXT    NOT NULL,
    hold_nanos INTEGER NOT NULL,
    price      TEXT,
    charges    TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The ledger: what each call did cost. Rows are only ever added. bill is a JSON array of [kind of tokens, how many,
-- nano-dollars for a million of them].
CREATE TABLE calls (
    id             BLOB    NOT NULL PRIMARY KEY,
    project_id     BLOB    NOT NULL,
    key_id         BLOB    NOT NULL,
    user_id        TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    provider       TEXT    NOT NULL,
    model          TEXT    NOT NULL,
    outcome        TEXT    NOT NULL,
    hold_nanos     INTEGER NOT NULL,
    cost_nanos     INTEGER NOT NULL,
    input          INTEGER NOT NULL,
    cached_input   INTEGER NOT NULL,
    cache_write_5m INTEGER NOT NULL,
    cache_write_1h INTEGER NOT NULL,
    audio_input    INTEGER NOT NULL,
    image_input    INTEGER NOT NULL,
    output         INTEGER NOT NULL,
    reasoning      INTEGER NOT NULL,
    audio_output   INTEGER NOT NULL,
    image_output   INTEGER NOT NULL,
    usage_source   TEXT    NOT NULL,
    tier           TEXT,
    price          TEXT,
    bill           TEXT,
    charges        TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    settled_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The latest requests of known keys that a limit refused, so that `privet explain` can say why. Old rows are dropped.
CREATE TABLE refusals (
    id         BLOB    NOT NULL PRIMARY KEY,
    at         INTEGER NOT NULL,
    gate       TEXT    NOT NULL,
    project_id BLOB    NOT NULL,
    key_id     BLOB    NOT NULL,
    model      TEXT,
    reason     TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- What is switched off: `global`, `key/ID`, `provider/NAME`.
CREATE TABLE switches (
    scope  TEXT    NOT NULL PRIMARY KEY,
    reason TEXT    NOT NULL,
    at     INTEGER NOT NULL
) STRICT;

INSERT INTO revisions (name, version) VALUES ('switches', 0);

-- Answers kept for requests with an Idempotency-Key; status is NULL while the first is in flight, body where it was too large.
-- key_id is the first key of its line.
CREATE TABLE idempotency (
    key_id          BLOB    NOT NULL,
    idempotency_key TEXT    NOT NULL,
    request_hash    BLOB    NOT NULL,
    request_id      BLOB    NOT NULL,
    replica_id      BLOB    NOT NULL,
    created_at      INTEGER NOT NULL,
    status          INTEGER,
    headers         TEXT,
    body            BLOB,
    PRIMARY KEY (key_id, idempotency_key)
) STRICT;

CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- Budget alerts to deliver, and those delivered: one for each window and percentage.
CREATE TABLE budget_alerts (
    id           BLOB    NOT NULL PRIMARY KEY,
    budget       TEXT    NOT NULL,
    window_start INTEGER NOT NULL,
    percent      INTEGER NOT NULL,
    body         TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    next_at      INTEGER NOT NULL,
    delivered_at INTEGER,
    given_up_at  INTEGER,
    UNIQUE (budget, window_start, percent)
) STRICT;

CREATE INDEX budget_alerts_due ON budget_alerts (next_at) WHERE delivered_at IS NULL AND given_up_at IS NULL;
