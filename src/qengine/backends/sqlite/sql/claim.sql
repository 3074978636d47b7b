-- Take the first jobs in line. A type with at least :limit free slots is only bound by :limit; of each other one its
-- first :most jobs are looked at, and its own number of them kept. {lane} is `crashes < 2`, or `crashes >= 2` for suspects.
-- Joins, and not IN, so that SQLite seeks each (queue, type) and stops there as soon as the best :limit are known.
UPDATE qengine_jobs SET
    status = 'processing', rank = NULL, attempts = attempts + 1, lease_token = lease_token + 1,
    locked_by = :worker, locked_until = :now + :lease, started_at = :now, updated_at = :now
WHERE id IN (
    WITH RECURSIVE
    lines (name) AS (
        SELECT value FROM json_each(:queues)
        UNION ALL
        SELECT min(queue) FROM qengine_jobs WHERE :queues IS NULL AND rank IS NOT NULL AND {lane}
        UNION ALL
        SELECT (SELECT min(queue) FROM qengine_jobs WHERE queue > lines.name AND rank IS NOT NULL AND {lane})
        FROM lines WHERE :queues IS NULL AND lines.name IS NOT NULL
    ),
    queues (name) AS MATERIALIZED (
        SELECT DISTINCT name FROM lines
        WHERE name NOT IN (SELECT name FROM qengine_pauses WHERE kind = 'queue' AND (until IS NULL OR until > :now))
    ),
    types (name, free) AS MATERIALIZED (
        SELECT key, value FROM json_each(:types)
        WHERE value > 0 AND key NOT IN (SELECT name FROM qengine_pauses WHERE kind = 'type' AND (until IS NULL OR until > :now))
    ),
    bounds (name, free, last) AS MATERIALIZED (
        SELECT name, free, (
            SELECT id FROM (
                SELECT jobs.id, jobs.rank FROM queues CROSS JOIN qengine_jobs AS jobs
                WHERE jobs.queue = queues.name AND jobs.type = types.name AND jobs.rank IS NOT NULL AND jobs.{lane}
                ORDER BY jobs.rank, jobs.id LIMIT :most
            ) ORDER BY rank DESC, id DESC LIMIT 1
        )
        FROM types WHERE free < :limit
    )
    SELECT id FROM (
        SELECT id, rank FROM (
            SELECT jobs.id, jobs.rank FROM queues CROSS JOIN types CROSS JOIN qengine_jobs AS jobs
            WHERE types.free >= :limit AND jobs.queue = queues.name AND jobs.type = types.name AND jobs.rank IS NOT NULL AND jobs.{lane}
            ORDER BY jobs.rank, jobs.id LIMIT :limit
        )
        UNION ALL
        SELECT id, rank FROM (
            SELECT jobs.id, jobs.rank, bounds.free, row_number() OVER (PARTITION BY bounds.name ORDER BY jobs.rank, jobs.id) AS place
            FROM bounds CROSS JOIN qengine_jobs AS final CROSS JOIN queues CROSS JOIN qengine_jobs AS jobs
            WHERE final.id = bounds.last AND jobs.queue = queues.name AND jobs.type = bounds.name
                AND jobs.rank IS NOT NULL AND jobs.{lane} AND (jobs.rank, jobs.id) <= (final.rank, final.id)
        )
        WHERE place <= free
    )
    ORDER BY rank, id LIMIT :limit
)
RETURNING
    id, lease_token, type, queue, priority, payload, attempts, max_attempts, crashes, timeout, scheduled_for, created_at, expires_at,
    unique_key, partition_key, checkpoint, headers
