-- End a pause. (What RETURNING says of a deleted row goes through no IS NULL: SQLite 3.40 gets that wrong.)
DELETE FROM qengine_pauses WHERE kind = :kind AND name = :name
RETURNING until
