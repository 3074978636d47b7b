-- Let a schedule fire no more, or again: then it goes on at :next_fire, unless someone has moved it on from :seen.
UPDATE {schema}.qengine_schedules
SET paused = :paused::boolean,
  next_fire = CASE WHEN paused AND NOT :paused::boolean AND next_fire = :seen::timestamptz
    THEN greatest(next_fire, :next_fire::timestamptz) ELSE next_fire END
WHERE name = :name::text
RETURNING name;
