-- The types in line that no live worker of their queue serves. The lines, (queue, type), are found by hops along the index,
-- as many as there are lines, however long they are.
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
    live (types, queues) AS MATERIALIZED (
        SELECT types, queues FROM qengine_workers WHERE heartbeat >= :now - :live_within
    ),
    unserved (queue, type) AS MATERIALIZED (
        SELECT queue, type FROM (SELECT queue, type FROM lines UNION SELECT queue, type FROM suspects) AS waiting
        WHERE NOT EXISTS (
            SELECT 1 FROM live
            WHERE (live.queues IS NULL OR waiting.queue IN (SELECT value FROM json_each(live.queues)))
                AND waiting.type IN (SELECT value FROM json_each(live.types))
        )
    )
SELECT DISTINCT type FROM unserved ORDER BY type
