-- The history of the jobs whose leases have ended, the first :limit of them.
INSERT INTO qengine_errors (job_id, attempt, worker, started_at, ended_at, error)
SELECT id, attempts, locked_by, started_at, :now, 'crashed: the lease of worker ' || coalesce(locked_by, '?') || ' ended'
FROM qengine_jobs
WHERE status = 'processing' AND locked_until <= :now
ORDER BY locked_until LIMIT :limit
RETURNING job_id, worker
