-- Declare schedules. One that stands with the same cron and tz keeps where it is; a pause stays.
INSERT INTO {schema}.qengine_schedules AS s (name, type, cron, tz, catch_up, next_fire, last_fire)
SELECT *
FROM unnest(:names::text[], :types::text[], :crons::text[], :tzs::text[], :catch_ups::text[], :next_fires::timestamptz[],
  :last_fires::timestamptz[])
ON CONFLICT (name) DO UPDATE
SET type = excluded.type, cron = excluded.cron, tz = excluded.tz, catch_up = excluded.catch_up,
  next_fire = CASE WHEN (s.cron, s.tz) = (excluded.cron, excluded.tz) THEN s.next_fire ELSE excluded.next_fire END,
  last_fire = CASE WHEN (s.cron, s.tz) = (excluded.cron, excluded.tz) THEN s.last_fire ELSE excluded.last_fire END;
