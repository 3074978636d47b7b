-- Let a schedule fire no more, or again.
UPDATE {schema}.qengine_schedules SET paused = :paused::boolean WHERE name = :name::text RETURNING name;
