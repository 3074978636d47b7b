-- Jobs by filter, in the order of their ids. With :ids they are looked up; where only dead and cancelled ones are asked for
-- (:rare, as :status) they come from their index; else the table is walked until :limit are found.
WITH matching AS NOT MATERIALIZED (
    SELECT id, status, completed_at FROM qengine_jobs WHERE
        id > :after
        AND (:status IS NULL OR status IN (SELECT value FROM json_each(:status)))
        AND (:type IS NULL OR type = :type)
        AND (:queue IS NULL OR queue = :queue)
        AND (:error_group IS NULL OR coalesce(error_group, last_error, dead_reason, '') = :error_group)
        AND (:created_before IS NULL OR created_at < :created_before)
        AND (:created_after IS NULL OR created_at > :created_after)
        AND (:above IS NULL OR +id > :above)
        AND (:ended_before IS NULL OR completed_at < :ended_before)
        AND (:text IS NULL OR instr(lower(payload), lower(:text)) OR instr(lower(last_error), lower(:text)))
)
SELECT
    id, type, queue, priority, payload, status, attempts, max_attempts, crashes, last_error, dead_reason, scheduled_for, rank,
    locked_until, locked_by, lease_token, unique_key, partition_key, timeout, expires_at, result, progress, checkpoint, headers,
    created_at, updated_at, started_at, completed_at, error_group
FROM qengine_jobs
WHERE id IN (
    SELECT * FROM (SELECT id FROM matching WHERE :ids IS NULL AND :rare IS NULL ORDER BY id LIMIT :limit)
    UNION ALL
    SELECT * FROM (
        SELECT matching.id FROM json_each(:rare) AS ended CROSS JOIN matching
        WHERE :ids IS NULL AND matching.status = ended.value AND matching.completed_at IS NOT NULL
        ORDER BY matching.id LIMIT :limit
    )
    UNION ALL
    SELECT * FROM (SELECT id FROM matching WHERE id IN (SELECT value FROM json_each(:ids)) ORDER BY id LIMIT :limit)
)
ORDER BY id
