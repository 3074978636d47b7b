-- The ids of the jobs with these statuses, by the indexes that hold them, where these are :few at the most; more otherwise.
-- Waiting jobs, pending and failed, are told together. Not for completed ones. :running
-- and :waiting are [1], or [] to leave those out.
SELECT DISTINCT id FROM (
    SELECT jobs.id FROM json_each(:ended) AS ended CROSS JOIN qengine_jobs AS jobs
    WHERE jobs.status = ended.value AND jobs.completed_at IS NOT NULL
    UNION ALL
    SELECT jobs.id FROM json_each(:running) CROSS JOIN qengine_jobs AS jobs INDEXED BY qengine_jobs_lease
    WHERE status = 'processing'
    UNION ALL
    SELECT jobs.id FROM json_each(:waiting) CROSS JOIN qengine_jobs AS jobs INDEXED BY qengine_jobs_due
    WHERE rank IS NULL AND status IN ('pending', 'failed')
    UNION ALL
    SELECT jobs.id FROM json_each(:waiting) CROSS JOIN qengine_jobs AS jobs INDEXED BY qengine_jobs_claim
    WHERE rank IS NOT NULL AND crashes < 2
    UNION ALL
    SELECT jobs.id FROM json_each(:waiting) CROSS JOIN qengine_jobs AS jobs INDEXED BY qengine_jobs_suspects
    WHERE rank IS NOT NULL AND crashes >= 2
)
LIMIT :few + 1
