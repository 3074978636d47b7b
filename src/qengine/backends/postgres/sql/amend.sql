-- Change a job that does not run, where its status allows it; the row as it was before.
WITH before AS MATERIALIZED (
  SELECT id, type, queue, priority, payload, status, attempts, max_attempts, crashes, last_error, dead_reason, scheduled_for, rank,
    locked_until, locked_by, lease_token, unique_key, partition_key, timeout, expires_at, result, progress, checkpoint, headers,
    created_at, updated_at, started_at, completed_at, error_group
  FROM {schema}.qengine_jobs
  WHERE id = :id::bigint
    AND (status IN ('pending', 'failed')
      OR (status IN ('dead', 'cancelled') AND :priority::smallint IS NULL AND NOT :due_now::boolean))
  FOR UPDATE
), amended AS (
  SELECT b.id, coalesce(:priority::smallint, b.priority) AS priority,
    CASE WHEN :due_now::boolean THEN least(b.scheduled_for, clock.now) ELSE b.scheduled_for END AS due,
    b.rank IS NOT NULL OR :due_now::boolean AS in_line, clock.now
  FROM before AS b, (SELECT coalesce(:now::timestamptz, statement_timestamp()) AS now) AS clock
), changed AS (
  UPDATE {schema}.qengine_jobs AS j
  SET payload = coalesce(:payload::text::json, j.payload), priority = a.priority, scheduled_for = a.due,
    rank = CASE WHEN a.in_line THEN date_part('epoch', a.due) + a.priority * :ageing::float8 END,
    lease_token = j.lease_token + 1, updated_at = a.now
  FROM amended AS a
  WHERE j.id = ANY(ARRAY[a.id])
)
SELECT before.*, pg_notify(:channel::text, '') AS notified FROM before;
