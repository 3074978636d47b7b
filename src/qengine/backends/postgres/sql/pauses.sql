-- The pauses in force.
SELECT kind, name, until FROM {schema}.qengine_pauses
WHERE until IS NULL OR until > coalesce(:now::timestamptz, statement_timestamp())
ORDER BY kind, name;
