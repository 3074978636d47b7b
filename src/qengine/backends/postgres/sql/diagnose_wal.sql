-- What keeps the write-ahead log from being let go: replication slots, and an archiver that fails.
SELECT s.slot_name AS slot, s.active, s.wal_status AS status,
  pg_wal_lsn_diff(
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, s.restart_lsn)::float8 AS kept, pg_size_bytes(current_setting('max_wal_size')) AS most,
  current_setting('archive_mode') <> 'off' AND coalesce(a.last_failed_time > coalesce(a.last_archived_time, '-infinity'), false)
    AS archiver_fails,
  has_function_privilege('pg_ls_waldir()', 'execute') AS listable
FROM pg_stat_archiver AS a LEFT JOIN pg_replication_slots AS s ON s.restart_lsn IS NOT NULL
ORDER BY kept DESC NULLS LAST;
