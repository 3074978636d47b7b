DELETE FROM qengine_workers WHERE id = :id
