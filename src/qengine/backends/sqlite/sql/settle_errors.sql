-- Before settle.sql: the history of the runs that failed, as far as their fence holds.
INSERT INTO qengine_errors (job_id, attempt, worker, started_at, ended_at, error, traceback)
SELECT jobs.id, jobs.attempts, :worker, jobs.started_at, :now, coalesce(json_extract(value, '$[7]'), ''), json_extract(value, '$[10]')
FROM json_each(:done) AS done CROSS JOIN qengine_jobs AS jobs
WHERE jobs.id = done.key AND jobs.lease_token = json_extract(value, '$[0]') AND json_extract(value, '$[9]')
