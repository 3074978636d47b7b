-- Let leases end :seconds from now; those whose fence held.
UPDATE {schema}.qengine_jobs AS j
SET locked_until = coalesce(:now::timestamptz, statement_timestamp()) + make_interval(secs => :seconds::float8)
FROM unnest(:ids::bigint[], :tokens::bigint[]) AS s (id, token)
WHERE j.id = ANY(ARRAY[s.id]) AND j.lease_token = s.token
RETURNING j.id, j.lease_token;
