-- The live jobs that have these unique keys: each is looked up by itself, as a join might read all keys of a type.
SELECT found.id, wanted.type, wanted.unique_key, found.created_at, found.scheduled_for
FROM unnest(:types::text[], :unique_keys::text[]) AS wanted (type, unique_key), LATERAL (
  SELECT j.id, j.created_at, j.scheduled_for FROM {schema}.qengine_jobs AS j
  WHERE j.type = wanted.type AND j.unique_key = wanted.unique_key
    AND j.unique_key IS NOT NULL AND j.status IN ('pending', 'processing', 'failed')
  LIMIT 1
) AS found;
