SELECT id, at, actor, action, detail, job_id, jobs FROM qengine_audit
WHERE job_id = :job_id AND id < :before
ORDER BY id DESC LIMIT :limit
