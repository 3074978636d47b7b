-- Delete jobs that ended longer ago than their status allows, oldest first; their history goes with them.
DELETE FROM {schema}.qengine_jobs
WHERE id = ANY(ARRAY(
  SELECT old.id
  FROM unnest(:statuses::text[], :seconds::float8[]) AS kept (status, seconds), LATERAL (
    SELECT j.id FROM {schema}.qengine_jobs AS j
    WHERE j.status = kept.status AND j.completed_at IS NOT NULL
      AND j.completed_at < coalesce(:now::timestamptz, statement_timestamp()) - make_interval(secs => kept.seconds)
    ORDER BY j.completed_at
    LIMIT :limit::integer
    FOR UPDATE SKIP LOCKED
  ) AS old
  LIMIT :limit::integer
))
RETURNING id;
