-- enqueue for one job that is due now, with neither a unique key nor an end: what most calls store. One plain INSERT, which
-- writes the notification with the row.
INSERT INTO {schema}.qengine_jobs
  (queue, type, priority, payload, max_attempts, scheduled_for, rank, partition_key, timeout, headers, created_at, updated_at)
VALUES
  (:queue::text, :type::text, :priority::smallint, :payload::text::json, :max_attempts::integer,
   coalesce(:now::timestamptz, statement_timestamp()),
   date_part('epoch', coalesce(:now::timestamptz, statement_timestamp())) + :priority::smallint * :ageing::float8,
   :partition_key::text, :timeout::float8, :headers::text::json,
   coalesce(:now::timestamptz, statement_timestamp()), coalesce(:now::timestamptz, statement_timestamp()))
RETURNING id, created_at, scheduled_for, rank, pg_notify(:channel::text, rank::text || ' ' || :lines::text) AS notified;
