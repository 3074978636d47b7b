-- End a pause and wake those who wait; whether it was in force.
WITH ended AS (
  DELETE FROM {schema}.qengine_pauses WHERE kind = :kind::text AND name = :name::text RETURNING until
)
SELECT until IS NULL OR until > coalesce(:now::timestamptz, statement_timestamp()) AS in_force,
  pg_notify(:channel::text, '') AS notified
FROM ended;
