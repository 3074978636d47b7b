SELECT coalesce(max(id), 0) FROM qengine_errors
