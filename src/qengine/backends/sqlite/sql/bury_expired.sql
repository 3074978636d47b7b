-- Make waiting jobs dead that were not started in time.
UPDATE qengine_jobs SET
    status = 'dead', dead_reason = 'expired', rank = NULL, lease_token = lease_token + 1, completed_at = :now, updated_at = :now
WHERE id IN (
    SELECT id FROM qengine_jobs
    WHERE expires_at IS NOT NULL AND status IN ('pending', 'failed') AND expires_at <= :now
    ORDER BY expires_at LIMIT :limit
)
