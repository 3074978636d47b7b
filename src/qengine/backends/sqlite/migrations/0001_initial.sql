-- Times are REAL unix seconds. JSON columns are TEXT, kept as they were written.

CREATE TABLE qengine_meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE qengine_jobs (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    queue         TEXT NOT NULL,
    type          TEXT NOT NULL,
    priority      INTEGER NOT NULL CHECK (priority BETWEEN 1 AND 10),
    payload       TEXT NOT NULL,
    status        TEXT NOT NULL DEFAULT 'pending'
                  CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'dead', 'cancelled')),
    attempts      INTEGER NOT NULL DEFAULT 0,
    max_attempts  INTEGER NOT NULL,
    crashes       INTEGER NOT NULL DEFAULT 0,
    last_error    TEXT,
    error_group   TEXT,
    dead_reason   TEXT,
    scheduled_for REAL NOT NULL,
    rank          REAL,
    locked_until  REAL,
    locked_by     TEXT,
    lease_token   INTEGER NOT NULL DEFAULT 0 CHECK (lease_token < 4611686018427387904),
    unique_key    TEXT,
    partition_key TEXT,
    timeout       REAL,
    expires_at    REAL,
    result        TEXT,
    progress      TEXT,
    checkpoint    TEXT,
    headers       TEXT,
    created_at    REAL NOT NULL,
    updated_at    REAL NOT NULL,
    started_at    REAL,
    completed_at  REAL
) STRICT;

-- The line, and the line of suspects.
CREATE INDEX qengine_jobs_claim ON qengine_jobs (queue, type, rank, id) WHERE rank IS NOT NULL AND crashes < 2;
CREATE INDEX qengine_jobs_suspects ON qengine_jobs (queue, type, rank, id) WHERE rank IS NOT NULL AND crashes >= 2;

CREATE INDEX qengine_jobs_due ON qengine_jobs (scheduled_for) WHERE rank IS NULL AND status IN ('pending', 'failed');
CREATE INDEX qengine_jobs_lease ON qengine_jobs (locked_until) WHERE status = 'processing';
CREATE UNIQUE INDEX qengine_jobs_unique ON qengine_jobs (type, unique_key)
    WHERE unique_key IS NOT NULL AND status IN ('pending', 'processing', 'failed');
CREATE INDEX qengine_jobs_finished ON qengine_jobs (status, completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX qengine_jobs_expiry ON qengine_jobs (expires_at) WHERE expires_at IS NOT NULL AND status IN ('pending', 'failed');

CREATE TABLE qengine_errors (
    id         INTEGER PRIMARY KEY,
    job_id     INTEGER NOT NULL,
    attempt    INTEGER NOT NULL,
    worker     TEXT,
    started_at REAL,
    ended_at   REAL NOT NULL,
    error      TEXT NOT NULL,
    traceback  TEXT
) STRICT;

CREATE INDEX qengine_errors_job ON qengine_errors (job_id, id);

-- A trigger and not a foreign key: it holds on every connection, whatever its pragmas.
CREATE TRIGGER qengine_jobs_deleted AFTER DELETE ON qengine_jobs BEGIN
    DELETE FROM qengine_errors WHERE job_id = old.id;
END;

-- types and queues: JSON arrays; queues NULL: every queue.
CREATE TABLE qengine_workers (
    id          TEXT PRIMARY KEY,
    host        TEXT NOT NULL,
    pid         INTEGER NOT NULL,
    version     TEXT NOT NULL,
    types       TEXT NOT NULL,
    queues      TEXT,
    concurrency INTEGER NOT NULL,
    running     INTEGER NOT NULL,
    started_at  REAL NOT NULL,
    heartbeat   REAL NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE qengine_schedules (
    name      TEXT PRIMARY KEY,
    type      TEXT NOT NULL,
    cron      TEXT NOT NULL,
    tz        TEXT NOT NULL,
    catch_up  TEXT NOT NULL CHECK (catch_up IN ('skip', 'one', 'all')),
    next_fire REAL NOT NULL,
    last_fire REAL
) STRICT, WITHOUT ROWID;

CREATE TABLE qengine_fires (
    schedule  TEXT NOT NULL,
    fire_time REAL NOT NULL,
    PRIMARY KEY (schedule, fire_time)
) STRICT, WITHOUT ROWID;

-- until NULL: until it is resumed.
CREATE TABLE qengine_pauses (
    kind  TEXT NOT NULL CHECK (kind IN ('type', 'queue')),
    name  TEXT NOT NULL,
    until REAL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
