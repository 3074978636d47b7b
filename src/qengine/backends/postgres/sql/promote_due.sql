-- Put jobs whose time has come in line, earliest first.
WITH promoted AS (
  UPDATE {schema}.qengine_jobs AS j
  SET rank = date_part('epoch', j.scheduled_for) + j.priority * :ageing::float8
  WHERE j.id = ANY(ARRAY(
    SELECT id FROM {schema}.qengine_jobs
    WHERE rank IS NULL AND status IN ('pending', 'failed') AND scheduled_for <= coalesce(:now::timestamptz, statement_timestamp())
    ORDER BY scheduled_for
    LIMIT :limit::integer
    FOR UPDATE SKIP LOCKED
  ))
  RETURNING j.id
)
SELECT count(*) AS n, CASE WHEN count(*) > 0 THEN pg_notify(:channel::text, '') END AS notified FROM promoted;
