-- End a pause; the row tells whether it was still in force.
DELETE FROM qengine_pauses WHERE kind = :kind AND name = :name
RETURNING until IS NULL OR until > :now
