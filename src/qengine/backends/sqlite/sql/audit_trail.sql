SELECT id, at, actor, action, detail, job_id, jobs FROM qengine_audit
WHERE id < :before
ORDER BY id DESC LIMIT :limit
