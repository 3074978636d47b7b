-- Declare schedules, each an array, times in microseconds: as whole numbers they stay exact in JSON. One that stands with the same cron and tz keeps where it is.
INSERT INTO qengine_schedules (name, type, cron, tz, catch_up, next_fire, last_fire)
SELECT
    json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]'),
    json_extract(value, '$[4]'), json_extract(value, '$[5]') / 1e6, json_extract(value, '$[6]') / 1e6
FROM json_each(:schedules)
WHERE true
ON CONFLICT (name) DO UPDATE SET
    type = excluded.type, cron = excluded.cron, tz = excluded.tz, catch_up = excluded.catch_up,
    next_fire = CASE WHEN (cron, tz) = (excluded.cron, excluded.tz) THEN next_fire ELSE excluded.next_fire END,
    last_fire = CASE WHEN (cron, tz) = (excluded.cron, excluded.tz) THEN last_fire ELSE excluded.last_fire END
