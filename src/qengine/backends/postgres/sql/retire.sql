-- Forget a worker.
DELETE FROM {schema}.qengine_workers WHERE id = :id::text;
