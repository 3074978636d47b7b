SELECT job_id, attempt, worker, started_at, ended_at, error, traceback
FROM qengine_errors
WHERE job_id = :id
ORDER BY id
