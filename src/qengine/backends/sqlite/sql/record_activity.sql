-- What a worker did: rows as arrays [step, start, worker, type, completed, failed, dead, other, waits, runs].
INSERT INTO qengine_activity (step, start, worker, type, completed, failed, dead, other, waits, runs)
SELECT
    json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]'),
    json_extract(value, '$[4]'), json_extract(value, '$[5]'), json_extract(value, '$[6]'), json_extract(value, '$[7]'),
    json_extract(value, '$[8]'), json_extract(value, '$[9]')
FROM json_each(:rows)
WHERE true
ON CONFLICT (step, start, worker, type) DO UPDATE SET
    completed = excluded.completed, failed = excluded.failed, dead = excluded.dead, other = excluded.other,
    waits = excluded.waits, runs = excluded.runs
