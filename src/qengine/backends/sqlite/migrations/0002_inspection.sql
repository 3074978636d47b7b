-- For those who look at a queue and tend it. The table of jobs is not touched: its indexes serve them too.

-- Written by the workers of this release; NULL: not known.
ALTER TABLE qengine_workers ADD COLUMN loop_lag REAL;

-- 1: it fires no more. A worker of the release before does not know it, and fires a paused schedule all the same.
ALTER TABLE qengine_schedules ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;

-- What each worker did with each type within one slot of time; start in unix seconds; waits and runs: JSON arrays of counts.
CREATE TABLE qengine_activity (
    step      INTEGER NOT NULL,
    start     INTEGER NOT NULL,
    worker    TEXT NOT NULL,
    type      TEXT NOT NULL,
    completed INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    dead      INTEGER NOT NULL,
    other     INTEGER NOT NULL,
    waits     TEXT NOT NULL,
    runs      TEXT NOT NULL,
    PRIMARY KEY (step, start, worker, type)
) STRICT, WITHOUT ROWID;

-- Who did what; detail: a JSON object; jobs NULL: it began, and its end was never recorded.
CREATE TABLE qengine_audit (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at     REAL NOT NULL,
    actor  TEXT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT NOT NULL,
    job_id INTEGER,
    jobs   INTEGER
) STRICT;

CREATE INDEX qengine_audit_job ON qengine_audit (job_id, id) WHERE job_id IS NOT NULL;
