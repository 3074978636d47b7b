-- settle_completed for runs under one and the same token that returned nothing, as the first attempts of most jobs. One walk
-- of the primary key finds all of them, where a join descends once for each.
UPDATE {schema}.qengine_jobs AS j
SET status = 'completed', result = NULL, rank = NULL, crashes = 0, dead_reason = NULL, locked_by = NULL, locked_until = NULL,
  lease_token = j.lease_token + 1, completed_at = clock.now, updated_at = clock.now
FROM (SELECT coalesce(:now::timestamptz, statement_timestamp()) AS now) AS clock
WHERE j.id = ANY(:ids::bigint[]) AND j.lease_token = :token::bigint
RETURNING j.id;
