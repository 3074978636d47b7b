-- The indexes on the tables: whether they are usable, how large they are, and how often they were used.
SELECT c.relname AS name, t.relname AS on_table, i.indisvalid AND i.indisready AS valid, i.indisunique AS is_unique,
  pg_relation_size(c.oid) AS size, greatest(c.reltuples, 0)::float8 AS entries, coalesce(s.idx_scan, 0) AS scans
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_class AS t ON t.oid = i.indrelid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
LEFT JOIN pg_stat_all_indexes AS s ON s.indexrelid = c.oid
WHERE n.nspname = :schema::text AND t.relname LIKE 'qengine\_%'
ORDER BY c.relname;
