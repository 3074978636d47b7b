-- Store jobs and notify once (with :lines). Ids are drawn in the order of the arrays, and rows written in the order of their unique
-- keys, so that two writers of the same keys wait for each other and never in a circle. A job whose key is taken is left
-- out of the answer. The notification says the smallest rank that came in line, and in which lines (queue and type).
-- JSON goes in as text: the caller's own connection may have a codec for json.
WITH clock AS (
  SELECT coalesce(:now::timestamptz, statement_timestamp()) AS now
), drawn AS MATERIALIZED (
  SELECT nextval('{schema}.qengine_jobs_id_seq') AS id, new.*
  FROM unnest(:queues::text[], :types::text[], :priorities::smallint[], :payloads::text[], :delays::float8[], :ats::timestamptz[],
      :max_attempts::integer[], :timeouts::float8[], :unique_keys::text[], :partition_keys::text[], :expiries::float8[],
      :expire_ats::timestamptz[], :headers::text[])
    AS new (queue, type, priority, payload, delay, at, max_attempts, timeout, unique_key, partition_key, expiry, expire_at, headers)
), stored AS (
  INSERT INTO {schema}.qengine_jobs
    (id, queue, type, priority, payload, max_attempts, scheduled_for, rank, unique_key, partition_key, timeout, expires_at, headers,
     created_at, updated_at)
  SELECT
    new.id, new.queue, new.type, new.priority, new.payload::json, new.max_attempts, due.at,
    CASE WHEN due.at <= clock.now THEN date_part('epoch', due.at) + new.priority * :ageing::float8 END,
    new.unique_key, new.partition_key, new.timeout,
    coalesce(new.expire_at, clock.now + make_interval(secs => new.expiry)),
    new.headers::json, clock.now, clock.now
  FROM clock, drawn AS new,
    LATERAL (SELECT coalesce(new.at, clock.now + make_interval(secs => coalesce(new.delay, 0))) AS at) AS due
  ORDER BY new.type, new.unique_key
  ON CONFLICT (type, unique_key) WHERE unique_key IS NOT NULL AND status IN ('pending', 'processing', 'failed') DO NOTHING
  RETURNING id, type, unique_key, created_at, scheduled_for, rank
)
SELECT id, type, unique_key, created_at, scheduled_for, rank,
  (SELECT CASE WHEN :lines::text IS NOT NULL
    THEN pg_notify(:channel::text, coalesce(least(min(rank), :lowest::float8)::text, '') || ' ' || :lines::text) END
   FROM stored) AS notified
FROM stored
ORDER BY id;
