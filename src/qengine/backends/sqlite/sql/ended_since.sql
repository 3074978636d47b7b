-- The first jobs to end since then: of the first of each final status.
WITH ended AS (
    SELECT * FROM (
        SELECT completed_at, id FROM qengine_jobs
        WHERE status = 'completed' AND completed_at IS NOT NULL AND completed_at >= :since
        ORDER BY completed_at, id LIMIT :limit
    )
    UNION ALL
    SELECT * FROM (
        SELECT completed_at, id FROM qengine_jobs
        WHERE status = 'dead' AND completed_at IS NOT NULL AND completed_at >= :since
        ORDER BY completed_at, id LIMIT :limit
    )
    UNION ALL
    SELECT * FROM (
        SELECT completed_at, id FROM qengine_jobs
        WHERE status = 'cancelled' AND completed_at IS NOT NULL AND completed_at >= :since
        ORDER BY completed_at, id LIMIT :limit
    )
)
SELECT
    id, type, queue, priority, payload, status, attempts, max_attempts, crashes, last_error, dead_reason, scheduled_for, rank,
    locked_until, locked_by, lease_token, unique_key, partition_key, timeout, expires_at, result, progress, checkpoint, headers,
    created_at, updated_at, started_at, completed_at, error_group
FROM qengine_jobs
WHERE id IN (SELECT id FROM ended ORDER BY completed_at, id LIMIT :limit)
ORDER BY completed_at, id
