-- Store progress or checkpoint, what is given, under the fence.
UPDATE {schema}.qengine_jobs
SET progress = coalesce(:progress::json, progress), checkpoint = coalesce(:checkpoint::json, checkpoint),
  updated_at = coalesce(:now::timestamptz, statement_timestamp())
WHERE id = :id::bigint AND lease_token = :token::bigint
RETURNING id;
