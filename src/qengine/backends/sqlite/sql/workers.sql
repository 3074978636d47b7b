SELECT id, host, pid, version, types, queues, concurrency, running, started_at, heartbeat FROM qengine_workers
WHERE heartbeat >= :now - :within
ORDER BY started_at, id
