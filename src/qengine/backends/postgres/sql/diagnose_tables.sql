-- The tables: size, dead rows, and from how many dead rows on autovacuum comes for each of them.
SELECT c.relname AS name, pg_table_size(c.oid) AS size, pg_indexes_size(c.oid) AS indexes,
  greatest(c.reltuples, 0)::float8 AS rows, coalesce(s.n_dead_tup, 0) AS dead,
  greatest(s.last_vacuum, s.last_autovacuum) AS vacuumed, greatest(s.last_analyze, s.last_autoanalyze) AS analyzed,
  coalesce((o.options ->> 'autovacuum_enabled')::boolean, true) AS autovacuum,
  coalesce((o.options ->> 'autovacuum_vacuum_scale_factor')::float8, current_setting('autovacuum_vacuum_scale_factor')::float8)
    AS scale_factor,
  coalesce((o.options ->> 'autovacuum_vacuum_threshold')::float8, current_setting('autovacuum_vacuum_threshold')::float8)
    AS threshold
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_all_tables AS s ON s.relid = c.oid
CROSS JOIN LATERAL (
  SELECT jsonb_object_agg(option_name, option_value) AS options FROM pg_options_to_table(c.reloptions)
) AS o
WHERE n.nspname = :schema::text AND c.relkind = 'r' AND c.relname LIKE 'qengine\_%'
ORDER BY c.relname;
