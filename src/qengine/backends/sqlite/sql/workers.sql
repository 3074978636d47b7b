SELECT id, host, pid, version, types, queues, concurrency, running, started_at, heartbeat, loop_lag
FROM qengine_workers
WHERE heartbeat >= :now - :within
ORDER BY started_at, id
