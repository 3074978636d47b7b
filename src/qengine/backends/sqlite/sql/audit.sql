-- What begins to be done.
INSERT INTO qengine_audit (at, actor, action, detail, job_id, jobs) VALUES (:now, :actor, :action, :detail, :job_id, :jobs)
RETURNING id
