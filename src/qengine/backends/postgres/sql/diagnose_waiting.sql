-- Sessions in this database that have waited for another's lock for long, and for whom.
SELECT pid, extract(epoch FROM clock_timestamp() - query_start)::float8 AS waits, pg_blocking_pids(pid) AS blockers
FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND state = 'active'
  AND query_start < clock_timestamp() - make_interval(secs => :longer::float8)
ORDER BY waits DESC
LIMIT 20;
