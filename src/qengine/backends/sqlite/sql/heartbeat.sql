-- Announce a worker.
INSERT INTO qengine_workers (id, host, pid, version, types, queues, concurrency, running, started_at, heartbeat)
VALUES (:id, :host, :pid, :version, :types, :queues, :concurrency, :running, :now, :now)
ON CONFLICT (id) DO UPDATE SET
    host = excluded.host, pid = excluded.pid, version = excluded.version, types = excluded.types, queues = excluded.queues,
    concurrency = excluded.concurrency, running = excluded.running, heartbeat = excluded.heartbeat
