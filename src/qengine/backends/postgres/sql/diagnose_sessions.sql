-- Transactions in this database that are open for long: whether they keep old rows from being vacuumed away (they see an
-- old state, or have written), and prepared ones, which have no session.
SELECT 'pid ' || pid AS who, usename AS role, application_name AS application, state,
  extract(epoch FROM clock_timestamp() - xact_start)::float8 AS age,
  backend_xid IS NOT NULL OR backend_xmin IS NOT NULL AS pins,
  'SELECT pg_terminate_backend(' || pid || ')' AS remedy
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND xact_start < clock_timestamp() - make_interval(secs => :longer::float8)
UNION ALL
SELECT 'prepared transaction ' || quote_literal(gid), owner, '', 'prepared', extract(epoch FROM clock_timestamp() - prepared)::float8, true,
  'ROLLBACK PREPARED ' || quote_literal(gid)
FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < clock_timestamp() - make_interval(secs => :longer::float8)
ORDER BY age DESC;
