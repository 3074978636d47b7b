-- The first jobs in line among these queues and types, read from the claim index alone: a JSON array of ids, which is one row
-- for the driver to fetch. Joins, and not IN, so that SQLite seeks each (queue, type) and leaves it as soon as the best :limit
-- are known.
SELECT json_group_array(id) FROM (
    SELECT jobs.id
    FROM json_each(:queues) AS queues CROSS JOIN json_each(:types) AS types CROSS JOIN qengine_jobs AS jobs
    WHERE jobs.queue = queues.value AND jobs.type = types.value AND jobs.rank IS NOT NULL AND jobs.{lane}
    ORDER BY jobs.rank, jobs.id LIMIT :limit
)
