-- The jobs that reached a final status, earliest first: the first of each status, merged.
SELECT ended.*
FROM unnest('{completed,dead,cancelled}'::text[]) AS final (status), LATERAL (
  SELECT id, type, queue, priority, payload, status, attempts, max_attempts, crashes, last_error, dead_reason, scheduled_for, rank,
    locked_until, locked_by, lease_token, unique_key, partition_key, timeout, expires_at, result, progress, checkpoint, headers,
    created_at, updated_at, started_at, completed_at, error_group
  FROM {schema}.qengine_jobs
  WHERE status = final.status AND completed_at >= :since::timestamptz
  ORDER BY completed_at, id
  LIMIT :limit::integer
) AS ended
ORDER BY completed_at, id
LIMIT :limit::integer;
