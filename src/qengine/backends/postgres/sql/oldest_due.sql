-- When the head of each line came due, the earliest of each type. By hops along the claim indexes, as in lines.sql.
WITH RECURSIVE heads AS (
  (
    SELECT queue, type, scheduled_for FROM {schema}.qengine_jobs
    WHERE rank IS NOT NULL AND crashes < 2
    ORDER BY queue, type, rank, id
    LIMIT 1
  )
  UNION ALL
  SELECT next.queue, next.type, next.scheduled_for
  FROM heads, LATERAL (
    SELECT j.queue, j.type, j.scheduled_for FROM {schema}.qengine_jobs AS j
    WHERE j.rank IS NOT NULL AND j.crashes < 2 AND (j.queue, j.type) > (heads.queue, heads.type)
    ORDER BY j.queue, j.type, j.rank, j.id
    LIMIT 1
  ) AS next
), suspects AS (
  (
    SELECT queue, type, scheduled_for FROM {schema}.qengine_jobs
    WHERE rank IS NOT NULL AND crashes >= 2
    ORDER BY queue, type, rank, id
    LIMIT 1
  )
  UNION ALL
  SELECT next.queue, next.type, next.scheduled_for
  FROM suspects, LATERAL (
    SELECT j.queue, j.type, j.scheduled_for FROM {schema}.qengine_jobs AS j
    WHERE j.rank IS NOT NULL AND j.crashes >= 2 AND (j.queue, j.type) > (suspects.queue, suspects.type)
    ORDER BY j.queue, j.type, j.rank, j.id
    LIMIT 1
  ) AS next
)
SELECT type, min(scheduled_for) AS due
FROM (SELECT type, scheduled_for FROM heads UNION ALL SELECT type, scheduled_for FROM suspects) AS line
GROUP BY type
ORDER BY type;
