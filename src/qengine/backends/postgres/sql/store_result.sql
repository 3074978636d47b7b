-- Store the result of a job that its own transaction completed, under the token which that left behind.
UPDATE {schema}.qengine_jobs
SET result = :result::json, updated_at = coalesce(:now::timestamptz, statement_timestamp())
WHERE id = :id::bigint AND lease_token = :token::bigint
RETURNING id;
