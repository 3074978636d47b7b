-- The jobs that run, those whose lease ends first in front.
SELECT
    id, type, queue, priority, payload, status, attempts, max_attempts, crashes, last_error, dead_reason, scheduled_for, rank,
    locked_until, locked_by, lease_token, unique_key, partition_key, timeout, expires_at, result, progress, checkpoint, headers,
    created_at, updated_at, started_at, completed_at, error_group
FROM qengine_jobs
WHERE status = 'processing'
ORDER BY locked_until, id LIMIT :limit
