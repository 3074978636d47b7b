-- Put back in line what :worker holds under none of the leases :keep, an array of [id, token].
UPDATE qengine_jobs SET
    status = 'pending', rank = scheduled_for + priority * :ageing, attempts = max(attempts - 1, 0), lease_token = lease_token + 1,
    locked_by = NULL, locked_until = NULL, updated_at = :now
WHERE id IN (
    SELECT id FROM qengine_jobs INDEXED BY qengine_jobs_lease
    WHERE status = 'processing' AND locked_by = :worker
        AND (id, lease_token) NOT IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:keep))
)
