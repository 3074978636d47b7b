-- The workers heard of within :within seconds.
SELECT id, host, pid, version, types, queues, concurrency, running, started_at, heartbeat, loop_lag
FROM {schema}.qengine_workers
WHERE heartbeat >= coalesce(:now::timestamptz, statement_timestamp()) - make_interval(secs => :within::float8)
ORDER BY started_at, id;
