-- Announce a worker.
INSERT INTO {schema}.qengine_workers AS w (id, host, pid, version, types, queues, concurrency, running, loop_lag, started_at,
  heartbeat)
SELECT :id::text, :host::text, :pid::integer, :version::text, :types::text[], :queues::text[], :concurrency::integer,
  :running::integer, :loop_lag::float8, clock.now, clock.now
FROM (SELECT coalesce(:now::timestamptz, statement_timestamp()) AS now) AS clock
ON CONFLICT (id) DO UPDATE
SET host = excluded.host, pid = excluded.pid, version = excluded.version, types = excluded.types, queues = excluded.queues,
  concurrency = excluded.concurrency, running = excluded.running,
  loop_lag = excluded.loop_lag, heartbeat = excluded.heartbeat;
