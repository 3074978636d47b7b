-- Move a schedule on, unless someone else has; and take the fire times that nobody ever took: none of one that is
-- paused.
WITH moved AS (
  UPDATE {schema}.qengine_schedules
  SET next_fire = :next_fire::timestamptz,
    last_fire = CASE WHEN paused THEN last_fire ELSE coalesce(:last_fire::timestamptz, last_fire) END
  WHERE name = :schedule::text AND next_fire = :seen::timestamptz
  RETURNING name, paused
), fresh AS (
  INSERT INTO {schema}.qengine_fires (schedule, fire_time)
  SELECT moved.name, due.at FROM moved, unnest(:times::timestamptz[]) AS due (at) WHERE NOT moved.paused
  ON CONFLICT DO NOTHING
  RETURNING fire_time
)
SELECT ARRAY(SELECT fire_time FROM fresh) AS times FROM moved;
