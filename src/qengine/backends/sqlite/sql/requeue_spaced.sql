-- After requeue.sql: let its jobs, :ids in order, come due one after the other.
UPDATE qengine_jobs SET scheduled_for = due, rank = CASE WHEN due <= :now THEN due + priority * :ageing END
FROM (SELECT value AS job_id, min(:now + :begin + key * :spacing, :latest) AS due FROM json_each(:ids))
WHERE id = job_id
