-- How many dead jobs died on which day, counted in days since 1970.
SELECT CAST(completed_at / 86400 AS INTEGER) AS day, count(*)
FROM qengine_jobs
WHERE
    status = 'dead' AND completed_at IS NOT NULL AND completed_at >= :since
    AND (:type IS NULL OR type = :type)
    AND (:error_group IS NULL OR coalesce(error_group, last_error, dead_reason, '') = :error_group)
GROUP BY day ORDER BY day
