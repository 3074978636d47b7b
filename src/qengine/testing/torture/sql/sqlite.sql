-- The run's own tables, and triggers that record every change of a job in the transaction that makes it.
CREATE TABLE torture_effects (job INTEGER NOT NULL, token INTEGER NOT NULL);
CREATE TABLE torture_orders (marker TEXT NOT NULL);
CREATE TABLE torture_scratch (text TEXT);

CREATE TABLE torture_changes (
    seq INTEGER PRIMARY KEY, at REAL NOT NULL, job INTEGER NOT NULL, type TEXT NOT NULL, before TEXT, after TEXT,
    token_before INTEGER, token INTEGER, attempts_before INTEGER, attempts INTEGER, max_attempts INTEGER,
    crashes_before INTEGER, crashes INTEGER, priority INTEGER, due REAL, rank REAL, worker TEXT,
    dead_reason TEXT, error TEXT, result TEXT, checkpoint TEXT, progress TEXT
);

CREATE TRIGGER torture_inserted AFTER INSERT ON qengine_jobs BEGIN
    INSERT INTO torture_changes (at, job, type, after, token_before, token, attempts_before, attempts, max_attempts,
        crashes_before, crashes, priority, due, rank, worker, dead_reason)
    VALUES ((julianday('now') - 2440587.5) * 86400.0, new.id, new.type, new.status, 0, new.lease_token, 0, new.attempts,
        new.max_attempts, 0, new.crashes, new.priority, new.scheduled_for, new.rank, new.locked_by, new.dead_reason);
END;

CREATE TRIGGER torture_updated AFTER UPDATE ON qengine_jobs
WHEN old.status IS NOT new.status OR old.lease_token IS NOT new.lease_token OR old.rank IS NOT new.rank
    OR old.attempts IS NOT new.attempts OR old.crashes IS NOT new.crashes OR old.result IS NOT new.result
    OR old.checkpoint IS NOT new.checkpoint OR old.progress IS NOT new.progress OR old.locked_by IS NOT new.locked_by
BEGIN
    INSERT INTO torture_changes (at, job, type, before, after, token_before, token, attempts_before, attempts, max_attempts,
        crashes_before, crashes, priority, due, rank, worker, dead_reason, error, result, checkpoint, progress)
    VALUES ((julianday('now') - 2440587.5) * 86400.0, new.id, new.type, old.status, new.status, old.lease_token,
        new.lease_token, old.attempts, new.attempts, new.max_attempts, old.crashes, new.crashes, new.priority,
        new.scheduled_for, new.rank, coalesce(new.locked_by, old.locked_by), new.dead_reason,
        CASE WHEN old.last_error IS NOT new.last_error THEN new.last_error END,
        CASE WHEN old.result IS NOT new.result THEN new.result END,
        CASE WHEN old.checkpoint IS NOT new.checkpoint THEN new.checkpoint END,
        CASE WHEN old.progress IS NOT new.progress THEN new.progress END);
END;

CREATE TRIGGER torture_deleted AFTER DELETE ON qengine_jobs BEGIN
    INSERT INTO torture_changes (at, job, type, before, token_before, token, attempts_before, attempts, max_attempts,
        crashes_before, crashes, priority, due, worker)
    VALUES ((julianday('now') - 2440587.5) * 86400.0, old.id, old.type, old.status, old.lease_token, old.lease_token,
        old.attempts, old.attempts, old.max_attempts, old.crashes, old.crashes, old.priority, old.scheduled_for, old.locked_by);
END;
