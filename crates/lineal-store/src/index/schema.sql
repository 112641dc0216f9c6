-- Every row follows from the statements in ledger order. Digests are `sha256:<hex>`, times RFC 3339. Both databases
-- read this text; index/database/postgres.rs says how the types are spelt there. Text of any length is in no index.

-- One row: how far the rows of all tables reach, and the root of the ledger at that size.
CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL, root TEXT NOT NULL);
INSERT INTO state (id, size, root)
VALUES (1, 0, 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');

CREATE TABLE entries (
    position INTEGER PRIMARY KEY,
    statement TEXT NOT NULL,          -- digest of the signed bytes
    noun TEXT NOT NULL,
    signer TEXT NOT NULL,             -- id of the key
    holder TEXT                       -- who holds it, if the key counts at this position
);
CREATE INDEX entries_statement ON entries (statement);

CREATE TABLE subjects (position INTEGER NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL);
CREATE INDEX subjects_digest ON subjects (digest);

CREATE TABLE keys (position INTEGER PRIMARY KEY, signer TEXT NOT NULL, record TEXT NOT NULL);

CREATE TABLE snapshots (
    position INTEGER PRIMARY KEY, statement TEXT NOT NULL, dataset TEXT NOT NULL, tag TEXT, digest TEXT NOT NULL,
    files TEXT NOT NULL, size_bytes TEXT NOT NULL, rows TEXT NOT NULL, schema TEXT NOT NULL, profile TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX snapshots_dataset ON snapshots (dataset, tag);

-- Results of steps. The first one of a cache key wins; the outputs of the others are not looked at.
CREATE TABLE results (
    cache_key TEXT PRIMARY KEY, position INTEGER NOT NULL, statement TEXT NOT NULL, pipeline TEXT NOT NULL,
    step TEXT NOT NULL, run TEXT NOT NULL, key_document TEXT NOT NULL, entropy TEXT NOT NULL,
    started_at TEXT NOT NULL, finished_at TEXT NOT NULL
);
CREATE INDEX results_step ON results (pipeline, step, position);
CREATE TABLE result_outputs (
    position INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, digest TEXT NOT NULL, size_bytes TEXT NOT NULL
);
CREATE INDEX result_outputs_position ON result_outputs (position);
CREATE INDEX result_outputs_digest ON result_outputs (digest);
CREATE TABLE dependencies (position INTEGER NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL);
CREATE INDEX dependencies_digest ON dependencies (digest);
CREATE INDEX dependencies_position ON dependencies (position);

CREATE TABLE runs (
    run TEXT PRIMARY KEY, position INTEGER NOT NULL, statement TEXT NOT NULL, pipeline TEXT NOT NULL,
    plan TEXT NOT NULL, started_at TEXT NOT NULL, finished_at TEXT NOT NULL
);
CREATE INDEX runs_plan ON runs (plan);
CREATE TABLE run_steps (
    position INTEGER NOT NULL, ordinal INTEGER NOT NULL, step TEXT NOT NULL, cache_key TEXT NOT NULL,
    cached BOOLEAN NOT NULL, provenance TEXT NOT NULL, PRIMARY KEY (position, ordinal)
);

CREATE TABLE gates (
    position INTEGER PRIMARY KEY, statement TEXT NOT NULL, name TEXT NOT NULL, outcome TEXT NOT NULL,
    counts BOOLEAN NOT NULL           -- whether the signer is a builder whose key counts
);

CREATE TABLE versions (
    model TEXT NOT NULL, version INTEGER NOT NULL, position INTEGER NOT NULL, statement TEXT NOT NULL,
    digest TEXT NOT NULL, run TEXT NOT NULL, registered_at TEXT NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (model, version)
);
CREATE INDEX versions_digest ON versions (digest);

CREATE TABLE approvals (
    position INTEGER PRIMARY KEY, statement TEXT NOT NULL, model TEXT NOT NULL, version INTEGER NOT NULL,
    digest TEXT NOT NULL, environment TEXT NOT NULL, approver TEXT NOT NULL, reason TEXT NOT NULL,
    approved_at TEXT NOT NULL,
    counts BOOLEAN NOT NULL           -- whether the signer is an approver of that name whose key counts
);

CREATE TABLE promotions (
    position INTEGER PRIMARY KEY, statement TEXT NOT NULL, environment TEXT NOT NULL, model TEXT NOT NULL,
    version INTEGER NOT NULL, digest TEXT NOT NULL, policy TEXT NOT NULL, promoted_at TEXT NOT NULL,
    counts BOOLEAN NOT NULL
);

CREATE TABLE rollout_steps (
    position INTEGER PRIMARY KEY, statement TEXT NOT NULL, rollout TEXT NOT NULL, environment TEXT NOT NULL,
    model TEXT NOT NULL, canary INTEGER NOT NULL, stable INTEGER, transition TEXT NOT NULL,
    weight_percent TEXT NOT NULL, generation TEXT NOT NULL, cause TEXT NOT NULL, record TEXT NOT NULL,
    decided_at TEXT NOT NULL
);
CREATE INDEX rollout_steps_rollout ON rollout_steps (rollout);
CREATE INDEX rollout_steps_model ON rollout_steps (environment, model);

-- Statements of runs and rollouts in their order. `number` is text: it has 64 bits.
CREATE TABLE series (
    position INTEGER PRIMARY KEY, statement TEXT NOT NULL, series TEXT NOT NULL, number TEXT NOT NULL,
    closes BOOLEAN NOT NULL
);
CREATE INDEX series_series ON series (series, position);

CREATE TABLE incidents (
    position INTEGER PRIMARY KEY, statement TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL,
    found_at TEXT NOT NULL
)
