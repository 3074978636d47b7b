-- The history of a job, oldest first.
SELECT job_id, attempt, worker, started_at, ended_at, error, traceback
FROM {schema}.qengine_errors
WHERE job_id = :id::bigint
ORDER BY id;
