-- Make jobs dead that nobody serves: in line and due for :after seconds, while no live worker of their queue has their type
-- and some live worker of their queue has been up for as long. The lines are found as in unhandled.sql.
UPDATE qengine_jobs SET
    status = 'dead', dead_reason = 'unknown_type', rank = NULL, lease_token = lease_token + 1, completed_at = :now, updated_at = :now
WHERE id IN (
    WITH RECURSIVE
        lines (id, queue, type) AS (
            SELECT * FROM (
                SELECT id, queue, type FROM qengine_jobs WHERE rank IS NOT NULL AND crashes < 2 ORDER BY queue, type LIMIT 1
            )
            UNION ALL
            SELECT jobs.id, jobs.queue, jobs.type FROM lines CROSS JOIN qengine_jobs AS jobs
            WHERE jobs.id = (
                SELECT next.id FROM qengine_jobs AS next
                WHERE (next.queue, next.type) > (lines.queue, lines.type) AND next.rank IS NOT NULL AND next.crashes < 2
                ORDER BY next.queue, next.type LIMIT 1
            )
        ),
        suspects (id, queue, type) AS (
            SELECT * FROM (
                SELECT id, queue, type FROM qengine_jobs WHERE rank IS NOT NULL AND crashes >= 2 ORDER BY queue, type LIMIT 1
            )
            UNION ALL
            SELECT jobs.id, jobs.queue, jobs.type FROM suspects CROSS JOIN qengine_jobs AS jobs
            WHERE jobs.id = (
                SELECT next.id FROM qengine_jobs AS next
                WHERE (next.queue, next.type) > (suspects.queue, suspects.type) AND next.rank IS NOT NULL AND next.crashes >= 2
                ORDER BY next.queue, next.type LIMIT 1
            )
        ),
        live (types, queues, lasting) AS MATERIALIZED (
            SELECT types, queues, started_at <= :now - :after FROM qengine_workers WHERE heartbeat >= :now - :live_within
        ),
        unserved (queue, type) AS MATERIALIZED (
            SELECT queue, type FROM (SELECT queue, type FROM lines UNION SELECT queue, type FROM suspects) AS waiting
            WHERE NOT EXISTS (
                SELECT 1 FROM live
                WHERE (live.queues IS NULL OR waiting.queue IN (SELECT value FROM json_each(live.queues)))
                    AND waiting.type IN (SELECT value FROM json_each(live.types))
            )
        ),
        doomed (queue, type) AS MATERIALIZED (
            SELECT queue, type FROM unserved
            WHERE EXISTS (
                SELECT 1 FROM live
                WHERE live.lasting AND (live.queues IS NULL OR unserved.queue IN (SELECT value FROM json_each(live.queues)))
            )
        )
    SELECT * FROM (
        SELECT jobs.id FROM doomed CROSS JOIN qengine_jobs AS jobs
        WHERE jobs.queue = doomed.queue AND jobs.type = doomed.type AND jobs.rank IS NOT NULL AND jobs.crashes < 2
            AND jobs.scheduled_for <= :now - :after
        UNION ALL
        SELECT jobs.id FROM doomed CROSS JOIN qengine_jobs AS jobs
        WHERE jobs.queue = doomed.queue AND jobs.type = doomed.type AND jobs.rank IS NOT NULL AND jobs.crashes >= 2
            AND jobs.scheduled_for <= :now - :after
    )
    LIMIT :limit
)
