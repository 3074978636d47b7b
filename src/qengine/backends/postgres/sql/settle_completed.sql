-- settle for runs that completed and have nothing else to say: the hot path. The fence is id and token and names no
-- column of a partial index, else the planner may leave the primary key.
UPDATE {schema}.qengine_jobs AS j
SET status = 'completed', result = s.result::json, rank = NULL, crashes = 0, dead_reason = NULL, locked_by = NULL, locked_until = NULL,
  lease_token = j.lease_token + 1, completed_at = clock.now, updated_at = clock.now
FROM (SELECT coalesce(:now::timestamptz, statement_timestamp()) AS now) AS clock,
  unnest(:ids::bigint[], :tokens::bigint[], :results::text[]) AS s (id, token, result)
WHERE j.id = ANY(ARRAY[s.id]) AND j.lease_token = s.token
RETURNING j.id;
