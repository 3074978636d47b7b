SELECT name, type, cron, tz, catch_up, next_fire, last_fire, paused FROM qengine_schedules
ORDER BY name
