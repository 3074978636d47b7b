-- The rows of all histories, in the order in which they were written.
SELECT e.id, e.job_id, e.attempt, e.worker, e.started_at, e.ended_at, e.error, e.traceback,
  (SELECT j.type FROM {schema}.qengine_jobs AS j WHERE j.id = e.job_id) AS type
FROM {schema}.qengine_errors AS e
WHERE e.id > :after::bigint
ORDER BY e.id
LIMIT :limit::integer;
