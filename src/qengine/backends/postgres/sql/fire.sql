-- Move a schedule on, unless someone else has; and take the fire times that nobody ever took.
WITH moved AS (
  UPDATE {schema}.qengine_schedules
  SET next_fire = :next_fire::timestamptz, last_fire = coalesce(:last_fire::timestamptz, last_fire)
  WHERE name = :schedule::text AND next_fire = :seen::timestamptz
  RETURNING name
), fresh AS (
  INSERT INTO {schema}.qengine_fires (schedule, fire_time)
  SELECT moved.name, due.at FROM moved, unnest(:times::timestamptz[]) AS due (at)
  ON CONFLICT DO NOTHING
  RETURNING fire_time
)
SELECT ARRAY(SELECT fire_time FROM fresh) AS times FROM moved;
