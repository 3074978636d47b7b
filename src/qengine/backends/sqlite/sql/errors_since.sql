-- The rows of all histories that came after the row :after.
SELECT errors.id, jobs.type, job_id, attempt, worker, errors.started_at, ended_at, error, traceback
FROM qengine_errors AS errors CROSS JOIN qengine_jobs AS jobs ON jobs.id = errors.job_id
WHERE errors.id > :after
ORDER BY errors.id LIMIT :limit
