-- Dead and failed jobs by type and normalised error, the largest groups first.
SELECT type, error, count(*) AS count, sum(status = 'dead'), min(at), max(at), max(CASE WHEN place = 1 THEN id END)
FROM (
    SELECT id, type, status, error, at, row_number() OVER (PARTITION BY type, error ORDER BY at DESC, id DESC) AS place
    FROM (
        SELECT id, type, status, coalesce(error_group, last_error, dead_reason, '') AS error, coalesce(completed_at, updated_at) AS at
        FROM qengine_jobs WHERE status IN ('dead', 'failed')
    )
)
GROUP BY type, error
ORDER BY count DESC, type, error
LIMIT :limit
