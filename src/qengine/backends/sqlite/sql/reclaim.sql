-- Take back the jobs :ids, whose leases have ended; reclaim_errors.sql has chosen them.
UPDATE qengine_jobs SET
    status = CASE WHEN crashes + 1 >= :max_crashes THEN 'dead' ELSE 'pending' END,
    dead_reason = CASE WHEN crashes + 1 >= :max_crashes THEN 'crash_loop' END,
    rank = CASE WHEN crashes + 1 < :max_crashes THEN scheduled_for + priority * :ageing END,
    completed_at = CASE WHEN crashes + 1 >= :max_crashes THEN :now END,
    crashes = min(crashes, 2147483646) + 1, attempts = max(attempts - 1, 0), lease_token = lease_token + 1,
    last_error = 'crashed: the lease of worker ' || coalesce(locked_by, '?') || ' ended',
    error_group = 'crashed: the lease of worker * ended',
    locked_by = NULL, locked_until = NULL, updated_at = :now
WHERE id IN (SELECT value FROM json_each(:ids))
RETURNING id, type, crashes, status = 'dead'
