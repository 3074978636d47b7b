-- For each type among :lines, an array of [queue, type]: when the head of its line came due, of several lines the earliest.
-- {lane} is `crashes < 2`, or `crashes >= 2` for suspects.
SELECT type, min(due) FROM (
    SELECT json_extract(line.value, '$[1]') AS type, (
        SELECT scheduled_for FROM qengine_jobs
        WHERE
            queue = json_extract(line.value, '$[0]') AND type = json_extract(line.value, '$[1]')
            AND rank IS NOT NULL AND {lane}
        ORDER BY rank, id LIMIT 1
    ) AS due
    FROM json_each(:lines) AS line
)
WHERE due IS NOT NULL
GROUP BY type
