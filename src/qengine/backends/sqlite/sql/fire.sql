-- Move a schedule on, unless someone else has.
UPDATE qengine_schedules SET next_fire = :next_fire, last_fire = coalesce(:last_fire, last_fire)
WHERE name = :schedule AND next_fire = :seen
RETURNING name
