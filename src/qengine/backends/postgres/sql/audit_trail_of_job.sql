-- What was done to one job by itself, newest first.
SELECT id, at, actor, action, detail, job_id, jobs
FROM {schema}.qengine_audit
WHERE job_id = :job_id::bigint AND id < :before::bigint
ORDER BY id DESC
LIMIT :limit::integer;
