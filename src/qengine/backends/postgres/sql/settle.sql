-- Write down how runs ended, each under its fence, and the failed attempts into the history; the ids that held. Other
-- processes are told when a job is in line again.
WITH clock AS (
  SELECT coalesce(:now::timestamptz, statement_timestamp()) AS now
), ends AS (
  SELECT s.*,
    s.status IN ('pending', 'failed') AS again,
    CASE WHEN s.status IN ('pending', 'failed') THEN clock.now + make_interval(secs => s.delay) END AS due,
    clock.now
  FROM clock,
    unnest(:ids::bigint[], :tokens::bigint[], :statuses::text[], :results::text[], :delays::float8[], :spent::boolean[],
      :ended::boolean[], :reasons::text[], :errors::text[], :tracebacks::text[], :groups::text[], :logged::boolean[])
    AS s (id, token, status, result, delay, spent, ended, reason, error, traceback, error_group, logged)
), settled AS (
  UPDATE {schema}.qengine_jobs AS j
  SET status = s.status,
    result = CASE WHEN s.status = 'completed' THEN s.result::json ELSE j.result END,
    scheduled_for = coalesce(s.due, j.scheduled_for),
    rank = CASE WHEN s.again AND coalesce(s.delay, 0) <= 0
      THEN date_part('epoch', coalesce(s.due, j.scheduled_for)) + j.priority * :ageing::float8 END,
    attempts = CASE WHEN s.spent THEN j.attempts ELSE greatest(j.attempts - 1, 0) END,
    crashes = CASE WHEN s.ended THEN 0 ELSE j.crashes END,
    dead_reason = CASE WHEN s.status = 'dead' THEN s.reason END,
    last_error = coalesce(s.error, j.last_error),
    error_group = CASE WHEN s.error IS NULL THEN j.error_group ELSE s.error_group END,
    locked_by = NULL, locked_until = NULL, lease_token = j.lease_token + 1, updated_at = s.now,
    completed_at = CASE WHEN NOT s.again THEN s.now END
  FROM ends AS s
  WHERE j.id = ANY(ARRAY[s.id]) AND j.lease_token = s.token
  RETURNING j.id, j.rank IS NOT NULL AS came, j.attempts + CASE WHEN s.spent THEN 0 ELSE 1 END AS attempt, j.started_at, s.now,
    s.logged, s.error, s.traceback
), history AS (
  INSERT INTO {schema}.qengine_errors (job_id, attempt, worker, started_at, ended_at, error, traceback)
  SELECT id, attempt, :worker::text, started_at, now, coalesce(error, ''), traceback FROM settled WHERE logged
)
SELECT id, (SELECT CASE WHEN bool_or(came) THEN pg_notify(:channel::text, '') END FROM settled) AS notified FROM settled;
