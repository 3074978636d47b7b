-- How many jobs of each queue, type and status; their attempts, and since when the longest due of them waits.
SELECT queue, type, status, count(*), sum(attempts), min(scheduled_for)
FROM qengine_jobs
GROUP BY queue, type, status
