-- Dead and failed jobs by type and normalised error, the largest groups first.
SELECT type, error, count(*) AS count, count(*) FILTER (WHERE status = 'dead') AS dead,
  min(at) AS first, max(at) AS last, (array_agg(id ORDER BY at DESC, id DESC))[1] AS sample
FROM (
  SELECT id, type, status, coalesce(error_group, last_error, dead_reason, '') AS error, coalesce(completed_at, updated_at) AS at
  FROM {schema}.qengine_jobs
  WHERE status IN ('dead', 'failed')
) AS failed
GROUP BY type, error
ORDER BY count DESC, type, error
LIMIT :limit::integer;
