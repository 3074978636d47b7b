-- What was done, newest first.
SELECT id, at, actor, action, detail, job_id, jobs
FROM {schema}.qengine_audit
WHERE id < :before::bigint
ORDER BY id DESC
LIMIT :limit::integer;
