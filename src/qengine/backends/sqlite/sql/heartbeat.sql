-- Announce a worker.
INSERT INTO qengine_workers (id, host, pid, version, types, queues, concurrency, running, started_at, heartbeat, loop_lag)
VALUES (:id, :host, :pid, :version, :types, :queues, :concurrency, :running, :now, :now, :loop_lag)
ON CONFLICT (id) DO UPDATE SET
    host = excluded.host, pid = excluded.pid, version = excluded.version, types = excluded.types, queues = excluded.queues,
    concurrency = excluded.concurrency, running = excluded.running, heartbeat = excluded.heartbeat,
    loop_lag = excluded.loop_lag
