-- Make waiting jobs dead that were not started in time.
WITH clock AS (
  SELECT coalesce(:now::timestamptz, statement_timestamp()) AS now
)
UPDATE {schema}.qengine_jobs AS j
SET status = 'dead', dead_reason = 'expired', rank = NULL, lease_token = j.lease_token + 1, updated_at = clock.now,
  completed_at = clock.now
FROM clock
WHERE j.id = ANY(ARRAY(
  SELECT w.id FROM {schema}.qengine_jobs AS w, clock
  WHERE w.expires_at IS NOT NULL AND w.status IN ('pending', 'failed') AND w.expires_at <= clock.now
  ORDER BY w.expires_at
  LIMIT :limit::integer
  FOR UPDATE OF w SKIP LOCKED
))
RETURNING j.id;
