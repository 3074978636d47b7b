-- enqueue for one job without a unique key. The notification is written with the row, which saves a second step.
INSERT INTO {schema}.qengine_jobs
  (queue, type, priority, payload, max_attempts, scheduled_for, rank, partition_key, timeout, expires_at, headers, created_at,
   updated_at)
SELECT
  :queue::text, :type::text, :priority::smallint, :payload::text::json, :max_attempts::integer, due.at,
  CASE WHEN due.at <= clock.now THEN date_part('epoch', due.at) + :priority::smallint * :ageing::float8 END,
  :partition_key::text, :timeout::float8,
  coalesce(:expire_at::timestamptz, clock.now + make_interval(secs => :expiry::float8)),
  :headers::text::json, clock.now, clock.now
FROM (SELECT coalesce(:now::timestamptz, statement_timestamp()) AS now) AS clock,
  LATERAL (SELECT coalesce(:at::timestamptz, clock.now + make_interval(secs => coalesce(:delay::float8, 0))) AS at) AS due
RETURNING id, created_at, scheduled_for, rank,
  pg_notify(:channel::text, coalesce(rank::text, '') || ' ' || :lines::text) AS notified;
