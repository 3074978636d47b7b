-- Take back jobs whose lease has ended, with a row of history each. None while the server has been up for less than a
-- lease by its own clock: what it was down for is nobody's crash. (A clock of the tests' says nothing about the server.)
WITH clock AS (
  SELECT coalesce(:now::timestamptz, statement_timestamp()) AS now
), lapsed AS MATERIALIZED (
  SELECT j.id, j.locked_by, j.attempts, j.started_at, clock.now,
    'crashed: the lease of worker ' || coalesce(j.locked_by, '?') || ' ended' AS error,
    j.crashes >= :max_crashes::integer - 1 AS dead
  FROM {schema}.qengine_jobs AS j, clock
  WHERE j.status = 'processing' AND j.locked_until <= clock.now
    AND (:now::timestamptz IS NOT NULL OR pg_postmaster_start_time() <= statement_timestamp() - make_interval(secs => :lease::float8))
  ORDER BY j.locked_until
  LIMIT :limit::integer
  FOR UPDATE OF j SKIP LOCKED
), history AS (
  INSERT INTO {schema}.qengine_errors (job_id, attempt, worker, started_at, ended_at, error)
  SELECT id, attempts, locked_by, started_at, now, error FROM lapsed
), reclaimed AS (
  UPDATE {schema}.qengine_jobs AS j
  SET status = CASE WHEN l.dead THEN 'dead' ELSE 'pending' END,
    dead_reason = CASE WHEN l.dead THEN 'crash_loop' END,
    rank = CASE WHEN NOT l.dead THEN date_part('epoch', j.scheduled_for) + j.priority * :ageing::float8 END,
    attempts = greatest(j.attempts - 1, 0), crashes = least(j.crashes, 2147483646) + 1, lease_token = j.lease_token + 1,
    last_error = l.error, error_group = 'crashed: the lease of worker * ended',
    locked_by = NULL, locked_until = NULL, updated_at = l.now,
    completed_at = CASE WHEN l.dead THEN l.now END
  FROM lapsed AS l
  WHERE j.id = ANY(ARRAY[l.id])
  RETURNING j.id, j.type, j.crashes, l.dead, l.locked_by AS worker
)
SELECT id, type, crashes, dead, worker,
  (SELECT CASE WHEN bool_or(NOT dead) THEN pg_notify(:channel::text, '') END FROM reclaimed) AS notified
FROM reclaimed
ORDER BY id;
