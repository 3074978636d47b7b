-- How many jobs of each queue, type and status; their attempts, and since when the longest due of them waits.
SELECT queue, type, status, count(*) AS n, sum(attempts)::bigint AS attempts,
  max(extract(epoch FROM coalesce(:now::timestamptz, statement_timestamp()) - scheduled_for)::float8)
    FILTER (WHERE status IN ('pending', 'failed')) AS waited
FROM {schema}.qengine_jobs
GROUP BY queue, type, status;
