-- How many of the dead jobs died on each day (UTC).
SELECT (completed_at AT TIME ZONE 'UTC')::date AS day, count(*) AS n
FROM {schema}.qengine_jobs
WHERE status = 'dead' AND completed_at >= :since::timestamptz
  AND (:type::text IS NULL OR type = :type::text)
  AND (:error_group::text IS NULL OR coalesce(error_group, last_error, dead_reason, '') = :error_group::text)
GROUP BY day
ORDER BY day;
