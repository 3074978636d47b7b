-- The lines, (queue, type), in which anybody waits: by hops along the claim index, as many as there are lines, however
-- long they are. {lane} is `crashes < 2`, or `crashes >= 2` for suspects.
WITH RECURSIVE
queues (name) AS (
    SELECT min(queue) FROM qengine_jobs WHERE rank IS NOT NULL AND {lane}
    UNION ALL
    SELECT (SELECT min(queue) FROM qengine_jobs WHERE queue > queues.name AND rank IS NOT NULL AND {lane})
    FROM queues WHERE queues.name IS NOT NULL
),
lines (queue, type) AS (
    SELECT name, (SELECT min(type) FROM qengine_jobs WHERE queue = queues.name AND rank IS NOT NULL AND {lane})
    FROM queues WHERE name IS NOT NULL
    UNION ALL
    SELECT queue, (
        SELECT min(jobs.type) FROM qengine_jobs AS jobs
        WHERE jobs.queue = lines.queue AND jobs.type > lines.type AND jobs.rank IS NOT NULL AND jobs.{lane}
    )
    FROM lines WHERE type IS NOT NULL
)
SELECT queue, type FROM lines WHERE type IS NOT NULL
