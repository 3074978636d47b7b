-- Make jobs of :lines, an array of [queue, type] that nobody serves, dead, where they have been due for :after seconds.
-- {lane} is `crashes < 2`, or `crashes >= 2` for suspects.
UPDATE qengine_jobs SET
    status = 'dead', dead_reason = 'unknown_type', rank = NULL, lease_token = lease_token + 1, completed_at = :now, updated_at = :now
WHERE id IN (
    SELECT jobs.id FROM json_each(:lines) AS lines CROSS JOIN qengine_jobs AS jobs
    WHERE jobs.queue = json_extract(lines.value, '$[0]') AND jobs.type = json_extract(lines.value, '$[1]')
        AND jobs.rank IS NOT NULL AND jobs.{lane} AND jobs.scheduled_for <= :now - :after
    LIMIT :limit
)
