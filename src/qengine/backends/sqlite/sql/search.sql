-- Jobs by filter against the order of ids, from below :after down to :floor; search_floor.sql tells how far that is.
SELECT
    id, type, queue, priority, payload, status, attempts, max_attempts, crashes, last_error, dead_reason, scheduled_for, rank,
    locked_until, locked_by, lease_token, unique_key, partition_key, timeout, expires_at, result, progress, checkpoint, headers,
    created_at, updated_at, started_at, completed_at, error_group
FROM qengine_jobs
WHERE
    id < :after AND id >= :floor
    AND (:status IS NULL OR status IN (SELECT value FROM json_each(:status)))
    AND (:type IS NULL OR type = :type)
    AND (:queue IS NULL OR queue = :queue)
    AND (:error_group IS NULL OR coalesce(error_group, last_error, dead_reason, '') = :error_group)
    AND (:created_before IS NULL OR created_at < :created_before)
    AND (:created_after IS NULL OR created_at > :created_after)
    AND (:ids IS NULL OR id IN (SELECT value FROM json_each(:ids)))
    AND (:above IS NULL OR id > :above)
    AND (:ended_before IS NULL OR completed_at < :ended_before)
    AND (:text IS NULL OR instr(lower(payload), lower(:text)) OR instr(lower(last_error), lower(:text)))
ORDER BY id DESC LIMIT :limit
