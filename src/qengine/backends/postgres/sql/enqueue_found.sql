-- The live jobs that have these unique keys.
SELECT j.id, j.type, j.unique_key, j.created_at, j.scheduled_for
FROM unnest(:types::text[], :unique_keys::text[]) AS wanted (type, unique_key)
JOIN {schema}.qengine_jobs AS j ON j.type = ANY(ARRAY[wanted.type]) AND j.unique_key = ANY(ARRAY[wanted.unique_key])
WHERE j.unique_key IS NOT NULL AND j.status IN ('pending', 'processing', 'failed');
