-- The live jobs that hold the unique keys of :keys, an array of [type, unique key].
SELECT asked.key, jobs.id, jobs.created_at, jobs.scheduled_for
FROM json_each(:keys) AS asked
CROSS JOIN qengine_jobs AS jobs
    ON jobs.type = json_extract(asked.value, '$[0]') AND jobs.unique_key = json_extract(asked.value, '$[1]')
WHERE jobs.unique_key IS NOT NULL AND jobs.status IN ('pending', 'processing', 'failed')
