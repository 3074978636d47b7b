-- The claim from one line (one queue and type): no quota is needed, the rest is as in claim.sql.
-- The suspects' lane is this statement with `crashes >= 2`.
WITH picked AS MATERIALIZED (
  SELECT j.id FROM {schema}.qengine_jobs AS j
  WHERE j.queue = :queue::text AND j.type = :type::text AND j.rank >= :mark::float8 AND j.crashes < 2
    AND NOT EXISTS (
      SELECT FROM {schema}.qengine_pauses AS p
      WHERE p.kind = 'type' AND p.name = :type::text
        AND (p.until IS NULL OR p.until > coalesce(:now::timestamptz, statement_timestamp()))
    )
    AND NOT EXISTS (
      SELECT FROM {schema}.qengine_pauses AS p
      WHERE p.kind = 'queue' AND p.name = :queue::text
        AND (p.until IS NULL OR p.until > coalesce(:now::timestamptz, statement_timestamp()))
    )
  ORDER BY j.rank, j.id
  LIMIT :limit::integer
  FOR UPDATE OF j SKIP LOCKED
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
