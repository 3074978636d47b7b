-- The run's own tables, and a trigger that records every change of a job in the transaction that makes it.
CREATE TABLE torture_effects (job bigint NOT NULL, token bigint NOT NULL);
CREATE TABLE torture_orders (marker text NOT NULL);

CREATE TABLE torture_changes (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at double precision NOT NULL, job bigint NOT NULL,
    type text NOT NULL, before text, after text, token_before bigint, token bigint, attempts_before integer,
    attempts integer, max_attempts integer, crashes_before integer, crashes integer, priority integer,
    due double precision, rank double precision, worker text, dead_reason text, error text, result text,
    checkpoint text, progress text
);

CREATE FUNCTION torture_record() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO torture_changes (at, job, type, after, token_before, token, attempts_before, attempts, max_attempts,
            crashes_before, crashes, priority, due, rank, worker, dead_reason)
        VALUES (extract(epoch FROM clock_timestamp()), new.id, new.type, new.status, 0, new.lease_token, 0, new.attempts,
            new.max_attempts, 0, new.crashes, new.priority, extract(epoch FROM new.scheduled_for), new.rank, new.locked_by,
            new.dead_reason);
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO torture_changes (at, job, type, before, token_before, token, attempts_before, attempts, max_attempts,
            crashes_before, crashes, priority, due, worker)
        VALUES (extract(epoch FROM clock_timestamp()), old.id, old.type, old.status, old.lease_token, old.lease_token,
            old.attempts, old.attempts, old.max_attempts, old.crashes, old.crashes, old.priority,
            extract(epoch FROM old.scheduled_for), old.locked_by);
    ELSE
        INSERT INTO torture_changes (at, job, type, before, after, token_before, token, attempts_before, attempts,
            max_attempts, crashes_before, crashes, priority, due, rank, worker, dead_reason, error, result, checkpoint, progress)
        VALUES (extract(epoch FROM clock_timestamp()), new.id, new.type, old.status, new.status, old.lease_token,
            new.lease_token, old.attempts, new.attempts, new.max_attempts, old.crashes, new.crashes, new.priority,
            extract(epoch FROM new.scheduled_for), new.rank, coalesce(new.locked_by, old.locked_by), new.dead_reason,
            CASE WHEN old.last_error IS DISTINCT FROM new.last_error THEN new.last_error END,
            CASE WHEN old.result::text IS DISTINCT FROM new.result::text THEN new.result::text END,
            CASE WHEN old.checkpoint::text IS DISTINCT FROM new.checkpoint::text THEN new.checkpoint::text END,
            CASE WHEN old.progress::text IS DISTINCT FROM new.progress::text THEN new.progress::text END);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER torture_came_or_went AFTER INSERT OR DELETE ON qengine_jobs
FOR EACH ROW EXECUTE FUNCTION torture_record();

CREATE TRIGGER torture_changed AFTER UPDATE ON qengine_jobs FOR EACH ROW
WHEN (old.status IS DISTINCT FROM new.status OR old.lease_token IS DISTINCT FROM new.lease_token
    OR old.rank IS DISTINCT FROM new.rank OR old.attempts IS DISTINCT FROM new.attempts
    OR old.crashes IS DISTINCT FROM new.crashes OR old.result::text IS DISTINCT FROM new.result::text
    OR old.checkpoint::text IS DISTINCT FROM new.checkpoint::text OR old.progress::text IS DISTINCT FROM new.progress::text
    OR old.locked_by IS DISTINCT FROM new.locked_by)
EXECUTE FUNCTION torture_record();
