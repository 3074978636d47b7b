-- The lines (queue and type) in which anybody waits, by hops along the claim index: as many steps as there are lines,
-- however long they are. The suspects' lane is this statement with `crashes >= 2`.
WITH RECURSIVE lines AS (
  (
    SELECT queue, type FROM {schema}.qengine_jobs
    WHERE rank IS NOT NULL AND crashes < 2
    ORDER BY queue, type
    LIMIT 1
  )
  UNION ALL
  SELECT next.queue, next.type
  FROM lines, LATERAL (
    SELECT j.queue, j.type FROM {schema}.qengine_jobs AS j
    WHERE j.rank IS NOT NULL AND j.crashes < 2 AND (j.queue, j.type) > (lines.queue, lines.type)
    ORDER BY j.queue, j.type
    LIMIT 1
  ) AS next
)
SELECT queue, type FROM lines;
