-- Let a schedule fire no more, or again. :next_fire is where it goes on; NULL: where it stands.
UPDATE qengine_schedules SET paused = :paused, next_fire = coalesce(:next_fire, next_fire)
WHERE name = :name
