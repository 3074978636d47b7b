-- The first jobs of several lines, given as JSON arrays of ids in an array.
SELECT json_group_array(id) FROM (
    SELECT jobs.id
    FROM json_each(:lines) AS lines CROSS JOIN json_each(lines.value) AS heads CROSS JOIN qengine_jobs AS jobs
    WHERE jobs.id = heads.value
    ORDER BY jobs.rank, jobs.id LIMIT :limit
)
