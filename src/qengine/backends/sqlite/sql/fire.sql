-- Move a schedule on, unless someone else has. Of a paused one nothing is enqueued, so its last fire stays.
UPDATE qengine_schedules SET
    next_fire = :next_fire, last_fire = CASE WHEN paused THEN last_fire ELSE coalesce(:last_fire, last_fire) END
WHERE name = :schedule AND next_fire = :seen
RETURNING paused
