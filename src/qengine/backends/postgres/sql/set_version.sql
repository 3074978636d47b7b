-- Note the version of the schema.
INSERT INTO {schema}.qengine_meta (key, value) VALUES ('schema_version', :version::text)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;
