-- Take the first jobs in line from several lines (a line: one queue and type), at most :limit, and of each type its room.
-- First, without locks, a sip from the head of each line says up to where the best :limit reach; what lies below
-- that, merged, says how many of the best belong to each line (the quota); then exactly that many are locked in each. So
-- no row is locked that is not taken, no line is read much deeper than it is taken, and where others lock the same rows
-- the claim moves on along the line. CTEs that lock are MATERIALIZED: run twice, they would take too many.
-- The suspects' lane is this statement with `crashes >= 2`. The answer leaves out a `created_at` that is `scheduled_for`: times
-- are what takes the driver longest to read.
WITH lines AS MATERIALIZED (
  SELECT line.*
  FROM unnest(:queues::text[], :types::text[], :rooms::integer[], :marks::float8[]) AS line (queue, type, room, mark)
  WHERE NOT EXISTS (
    SELECT FROM {schema}.qengine_pauses AS p
    WHERE (p.kind, p.name) IN (('type', line.type), ('queue', line.queue))
      AND (p.until IS NULL OR p.until > coalesce(:now::timestamptz, statement_timestamp()))
  )
), sips AS (
  SELECT l.room, h.rank, h.id, row_number() OVER (PARTITION BY l.type ORDER BY h.rank, h.id) AS nth
  FROM lines AS l, LATERAL (
    SELECT j.rank, j.id FROM {schema}.qengine_jobs AS j
    WHERE j.queue = l.queue AND j.type = l.type AND j.rank >= l.mark AND j.crashes < 2
    ORDER BY j.rank, j.id
    LIMIT least(l.room, :sip::integer)
  ) AS h
), reach AS MATERIALIZED (
  (SELECT rank, id FROM sips WHERE nth <= room ORDER BY rank, id OFFSET :limit::integer - 1 LIMIT 1)
  UNION ALL
  SELECT 'infinity', 0
  LIMIT 1
), heads AS (
  SELECT l.queue, l.type, l.mark, l.room, h.rank, h.id,
    row_number() OVER (PARTITION BY l.type ORDER BY h.rank, h.id) AS nth
  FROM reach, lines AS l, LATERAL (
    SELECT j.rank, j.id FROM {schema}.qengine_jobs AS j
    WHERE j.queue = l.queue AND j.type = l.type AND j.rank >= l.mark AND j.crashes < 2
      AND (j.rank, j.id) <= (reach.rank, reach.id)
    ORDER BY j.rank, j.id
    LIMIT l.room
  ) AS h
), quota AS (
  SELECT queue, type, mark, count(*) AS n
  FROM (SELECT * FROM heads WHERE nth <= room ORDER BY rank, id LIMIT :limit::integer) AS best
  GROUP BY queue, type, mark
), picked AS MATERIALIZED (
  SELECT p.id
  FROM quota AS q, LATERAL (
    SELECT j.id FROM {schema}.qengine_jobs AS j
    WHERE j.queue = q.queue AND j.type = q.type AND j.rank >= q.mark AND j.crashes < 2
    ORDER BY j.rank, j.id
    LIMIT q.n
    FOR UPDATE SKIP LOCKED
  ) AS p
)
UPDATE {schema}.qengine_jobs AS j
SET status = 'processing', rank = NULL, attempts = least(j.attempts, 2147483646) + 1, lease_token = j.lease_token + 1, locked_by = :worker::text,
  locked_until = now + make_interval(secs => :lease::float8), started_at = now, updated_at = now
FROM (SELECT coalesce(:now::timestamptz, statement_timestamp()) AS now) AS clock
WHERE j.id = ANY(ARRAY(SELECT id FROM picked))
RETURNING j.id, j.lease_token, j.type, j.queue, j.priority, j.payload, j.attempts, j.max_attempts, j.crashes, j.timeout,
  j.scheduled_for, nullif(j.created_at, j.scheduled_for) AS created_at, j.expires_at, coalesce(j.expires_at <= now, false) AS expired, j.unique_key, j.partition_key,
  j.checkpoint, j.headers,
  date_part('epoch', j.scheduled_for) + j.priority * :ageing::float8 AS rank;
