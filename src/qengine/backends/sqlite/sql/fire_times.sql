-- Take the fire times (microseconds) that nobody ever took.
INSERT INTO qengine_fires (schedule, fire_time)
SELECT :schedule, value / 1e6 FROM json_each(:times)
WHERE true
ON CONFLICT DO NOTHING
RETURNING CAST(round(fire_time * 1e6) AS INTEGER)
