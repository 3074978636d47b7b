-- Take the jobs :ids, which claim_heads.sql has found in line within the same transaction. It returns nothing: reading the
-- rows afterwards costs SQLite less than RETURNING them, which puts them all into a temporary table first.
UPDATE qengine_jobs SET
    status = 'processing', rank = NULL, attempts = min(attempts, 2147483646) + 1, lease_token = lease_token + 1,
    locked_by = :worker, locked_until = :now + :lease, started_at = :now, updated_at = :now
WHERE id IN (SELECT value FROM json_each(:ids))
