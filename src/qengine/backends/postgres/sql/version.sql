-- The version of the schema.
SELECT value FROM {schema}.qengine_meta WHERE key = 'schema_version';
