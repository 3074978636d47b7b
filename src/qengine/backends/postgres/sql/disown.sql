-- Put back in line what :worker holds under none of the leases given.
WITH strays AS MATERIALIZED (
  SELECT id FROM {schema}.qengine_jobs
  WHERE status = 'processing' AND locked_by = :worker::text
    AND (id, lease_token) NOT IN (SELECT k.id, k.token FROM unnest(:ids::bigint[], :tokens::bigint[]) AS k (id, token))
  ORDER BY locked_until
  FOR UPDATE
), disowned AS (
  UPDATE {schema}.qengine_jobs AS j
  SET status = 'pending', rank = date_part('epoch', j.scheduled_for) + j.priority * :ageing::float8,
    attempts = greatest(j.attempts - 1, 0), lease_token = j.lease_token + 1, locked_by = NULL, locked_until = NULL,
    updated_at = coalesce(:now::timestamptz, statement_timestamp())
  WHERE j.id = ANY(ARRAY(SELECT id FROM strays))
  RETURNING j.id
)
SELECT count(*) AS n, CASE WHEN count(*) > 0 THEN pg_notify(:channel::text, '') END AS notified FROM disowned;
