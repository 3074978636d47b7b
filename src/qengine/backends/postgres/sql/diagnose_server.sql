-- The settings and the state of the server that matter to a queue.
SELECT clock_timestamp() AS now, current_setting('server_version') AS version,
  current_setting('server_version_num')::integer / 10000 AS major,
  extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8 AS up,
  pg_is_in_recovery() AS standby,
  current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
  current_setting('synchronous_commit') AS synchronous_commit,
  current_setting('autovacuum') AS autovacuum, current_setting('track_counts') AS track_counts,
  current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
    - coalesce(current_setting('reserved_connections', true)::integer, 0) AS connections,
  (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL) AS connected,
  nullif(d.datconnlimit, -1) AS database_connections,
  (SELECT count(*) FROM pg_stat_activity AS a WHERE a.datid = d.oid) AS database_connected,
  nullif(r.rolconnlimit, -1) AS role_connections,
  (SELECT count(*) FROM pg_stat_activity AS a WHERE a.usesysid = r.oid) AS role_connected,
  age(d.datfrozenxid) AS transaction_age
FROM pg_database AS d, pg_roles AS r
WHERE d.datname = current_database() AND r.rolname = current_user;
