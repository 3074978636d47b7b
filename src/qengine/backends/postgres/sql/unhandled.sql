-- The types in line that no live worker of their queue serves. The lines are found as in lines.sql.
WITH RECURSIVE lines AS (
  (SELECT queue, type FROM {schema}.qengine_jobs WHERE rank IS NOT NULL AND crashes < 2 ORDER BY queue, type LIMIT 1)
  UNION ALL
  SELECT next.queue, next.type
  FROM lines, LATERAL (
    SELECT j.queue, j.type FROM {schema}.qengine_jobs AS j
    WHERE j.rank IS NOT NULL AND j.crashes < 2 AND (j.queue, j.type) > (lines.queue, lines.type)
    ORDER BY j.queue, j.type
    LIMIT 1
  ) AS next
), suspects AS (
  (SELECT queue, type FROM {schema}.qengine_jobs WHERE rank IS NOT NULL AND crashes >= 2 ORDER BY queue, type LIMIT 1)
  UNION ALL
  SELECT next.queue, next.type
  FROM suspects, LATERAL (
    SELECT j.queue, j.type FROM {schema}.qengine_jobs AS j
    WHERE j.rank IS NOT NULL AND j.crashes >= 2 AND (j.queue, j.type) > (suspects.queue, suspects.type)
    ORDER BY j.queue, j.type
    LIMIT 1
  ) AS next
)
SELECT DISTINCT l.type
FROM (SELECT queue, type FROM lines UNION SELECT queue, type FROM suspects) AS l
WHERE NOT EXISTS (
  SELECT FROM {schema}.qengine_workers AS w
  WHERE w.heartbeat >= coalesce(:now::timestamptz, statement_timestamp()) - make_interval(secs => :live_within::float8)
    AND (w.queues IS NULL OR l.queue = ANY(w.queues)) AND l.type = ANY(w.types)
)
ORDER BY l.type;
