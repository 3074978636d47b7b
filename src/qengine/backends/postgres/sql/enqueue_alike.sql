-- enqueue for jobs without a unique key that differ in nothing but their payloads: one job, or many of one task.
WITH stored AS (
  INSERT INTO {schema}.qengine_jobs
    (queue, type, priority, payload, max_attempts, scheduled_for, rank, partition_key, timeout, expires_at, headers, created_at,
     updated_at)
  SELECT
    :queue::text, :type::text, :priority::smallint, new.payload::json, :max_attempts::integer, due.at,
    CASE WHEN due.at <= clock.now THEN date_part('epoch', due.at) + :priority::smallint * :ageing::float8 END,
    :partition_key::text, :timeout::float8,
    coalesce(:expire_at::timestamptz, clock.now + make_interval(secs => :expiry::float8)),
    :headers::text::json, clock.now, clock.now
  FROM (SELECT coalesce(:now::timestamptz, statement_timestamp()) AS now) AS clock,
    LATERAL (SELECT coalesce(:at::timestamptz, clock.now + make_interval(secs => coalesce(:delay::float8, 0))) AS at) AS due,
    unnest(:payloads::text[]) AS new (payload)
  RETURNING id, created_at, scheduled_for, rank
), summary AS (
  SELECT array_agg(id ORDER BY id) AS ids, min(created_at) AS created_at, min(scheduled_for) AS scheduled_for, min(rank) AS rank
  FROM stored
)
SELECT ids, created_at, scheduled_for, rank,
  CASE WHEN :lines::text IS NOT NULL THEN pg_notify(:channel::text, coalesce(least(rank, :lowest::float8)::text, '') || ' ' || :lines::text) END AS notified
FROM summary;
