-- Delete jobs that ended longer ago than their status allows; :retention maps statuses to seconds.
DELETE FROM qengine_jobs
WHERE id IN (
    SELECT jobs.id FROM json_each(:retention) AS kept CROSS JOIN qengine_jobs AS jobs
    WHERE jobs.status = kept.key AND jobs.completed_at IS NOT NULL AND jobs.completed_at < :now - kept.value
    LIMIT :limit
)
