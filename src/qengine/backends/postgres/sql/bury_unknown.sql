-- Make jobs dead that nobody serves: in line and due for :after seconds, while no live worker of their queue has their
-- type and some live worker of their queue has been up for as long. The lines are found as in lines.sql.
WITH RECURSIVE clock AS (
  SELECT coalesce(:now::timestamptz, statement_timestamp()) AS now
), live AS MATERIALIZED (
  SELECT w.types, w.queues, w.started_at <= clock.now - make_interval(secs => :after::float8) AS lasting
  FROM {schema}.qengine_workers AS w, clock
  WHERE w.heartbeat >= clock.now - make_interval(secs => :live_within::float8)
), lines AS (
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
), unserved AS MATERIALIZED (
  SELECT l.queue, l.type
  FROM (SELECT queue, type FROM lines UNION SELECT queue, type FROM suspects) AS l
  WHERE NOT EXISTS (SELECT FROM live WHERE (live.queues IS NULL OR l.queue = ANY(live.queues)) AND l.type = ANY(live.types))
    AND EXISTS (SELECT FROM live WHERE (live.queues IS NULL OR l.queue = ANY(live.queues)) AND live.lasting)
), doomed AS MATERIALIZED (
  SELECT w.id
  FROM unserved AS u, clock, LATERAL (
    (
      SELECT j.id FROM {schema}.qengine_jobs AS j
      WHERE j.queue = u.queue AND j.type = u.type AND j.rank IS NOT NULL AND j.crashes < 2
        AND j.scheduled_for <= clock.now - make_interval(secs => :after::float8)
      ORDER BY j.rank, j.id
      LIMIT :limit::integer
    )
    UNION ALL
    (
      SELECT j.id FROM {schema}.qengine_jobs AS j
      WHERE j.queue = u.queue AND j.type = u.type AND j.rank IS NOT NULL AND j.crashes >= 2
        AND j.scheduled_for <= clock.now - make_interval(secs => :after::float8)
      ORDER BY j.rank, j.id
      LIMIT :limit::integer
    )
  ) AS w
  LIMIT :limit::integer
), locked AS MATERIALIZED (
  SELECT j.id FROM {schema}.qengine_jobs AS j
  WHERE j.id = ANY(ARRAY(SELECT id FROM doomed)) AND j.status IN ('pending', 'failed')
  FOR UPDATE SKIP LOCKED
)
UPDATE {schema}.qengine_jobs AS j
SET status = 'dead', dead_reason = 'unknown_type', rank = NULL, lease_token = j.lease_token + 1, updated_at = clock.now,
  completed_at = clock.now
FROM clock
WHERE j.id = ANY(ARRAY(SELECT id FROM locked))
RETURNING j.id;
