-- The ids of all jobs with these statuses, by the indexes that hold them, where they are not more than :few; else a single
-- NULL. Waiting jobs are counted together, and an id can come twice when a job moves meanwhile. Not for completed jobs.
WITH ids AS MATERIALIZED (
  SELECT id FROM (
    SELECT ended.id
    FROM unnest(:statuses::text[]) AS chosen (status), LATERAL (
      SELECT j.id FROM {schema}.qengine_jobs AS j
      WHERE j.status = chosen.status AND j.completed_at IS NOT NULL
      ORDER BY j.completed_at
      LIMIT :few::integer + 1
    ) AS ended
    UNION ALL
    (
      SELECT id FROM {schema}.qengine_jobs
      WHERE status = 'processing' AND 'processing' = ANY(:statuses::text[])
      ORDER BY locked_until
      LIMIT :few::integer + 1
    )
    UNION ALL
    (
      SELECT id FROM {schema}.qengine_jobs
      WHERE rank IS NULL AND status IN ('pending', 'failed') AND :statuses::text[] && '{pending,failed}'
      ORDER BY scheduled_for
      LIMIT :few::integer + 1
    )
    UNION ALL
    (
      SELECT id FROM {schema}.qengine_jobs
      WHERE rank IS NOT NULL AND crashes < 2 AND :statuses::text[] && '{pending,failed}'
      ORDER BY queue, type, rank, id
      LIMIT :few::integer + 1
    )
    UNION ALL
    (
      SELECT id FROM {schema}.qengine_jobs
      WHERE rank IS NOT NULL AND crashes >= 2 AND :statuses::text[] && '{pending,failed}'
      ORDER BY queue, type, rank, id
      LIMIT :few::integer + 1
    )
  ) AS held
  LIMIT :few::integer + 1
)
SELECT id FROM ids WHERE (SELECT count(*) FROM ids) <= :few::integer
UNION ALL
SELECT NULL WHERE (SELECT count(*) FROM ids) > :few::integer;
