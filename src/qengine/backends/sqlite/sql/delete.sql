-- Delete jobs; a trigger deletes their history.
WITH matching AS NOT MATERIALIZED (
    SELECT id, status, completed_at FROM qengine_jobs AS jobs WHERE
        (:status IS NULL OR status IN (SELECT value FROM json_each(:status)))
        AND (:type IS NULL OR type = :type)
        AND (:queue IS NULL OR queue = :queue)
        AND (:error_group IS NULL OR coalesce(error_group, last_error, dead_reason, '') = :error_group)
        AND (:created_before IS NULL OR created_at < :created_before)
        AND (:created_after IS NULL OR created_at > :created_after)
        AND (:ended_before IS NULL OR completed_at < :ended_before)
        AND (:text IS NULL OR instr(lower(payload), lower(:text)) OR instr(lower(last_error), lower(:text)))
)
DELETE FROM qengine_jobs
WHERE id IN (
    SELECT * FROM (SELECT id FROM matching WHERE :ids IS NULL AND :rare IS NULL AND id > coalesce(:above, 0) ORDER BY id LIMIT :limit)
    UNION ALL
    SELECT * FROM (
        SELECT matching.id FROM json_each(:rare) AS ended CROSS JOIN matching
        WHERE :ids IS NULL AND matching.status = ended.value AND matching.completed_at IS NOT NULL
            AND +matching.id > coalesce(:above, 0)
        ORDER BY matching.id LIMIT :limit
    )
    UNION ALL
    SELECT * FROM (SELECT id FROM matching WHERE id IN (SELECT value FROM json_each(:ids)) AND +id > coalesce(:above, 0) ORDER BY id LIMIT :limit)
)
RETURNING id
