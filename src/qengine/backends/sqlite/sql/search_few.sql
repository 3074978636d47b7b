-- The ids of the jobs with these statuses, by the indexes that hold them, where these are :few at the most; more otherwise.
-- Waiting jobs, pending and failed, are told together. Not for completed ones.
SELECT DISTINCT id FROM (
    SELECT jobs.id FROM json_each(:ended) AS ended CROSS JOIN qengine_jobs AS jobs
    WHERE jobs.status = ended.value AND jobs.completed_at IS NOT NULL
    UNION ALL
    SELECT id FROM qengine_jobs WHERE :running AND status = 'processing'
    UNION ALL
    SELECT id FROM qengine_jobs WHERE :waiting AND rank IS NULL AND status IN ('pending', 'failed')
    UNION ALL
    SELECT id FROM qengine_jobs WHERE :waiting AND rank IS NOT NULL AND crashes < 2
    UNION ALL
    SELECT id FROM qengine_jobs WHERE :waiting AND rank IS NOT NULL AND crashes >= 2
)
LIMIT :few + 1
