-- Store what begins to be done; and delete the oldest entries once they have been kept for :kept seconds.
WITH clock AS (
  SELECT coalesce(:now::timestamptz, statement_timestamp()) AS now
), old AS (
  DELETE FROM {schema}.qengine_audit
  WHERE id = ANY(ARRAY(
    SELECT first.id
    FROM (SELECT id, at FROM {schema}.qengine_audit ORDER BY id LIMIT 100) AS first, clock
    WHERE first.at < clock.now - make_interval(secs => :kept::float8)
  ))
)
INSERT INTO {schema}.qengine_audit (at, actor, action, detail, job_id, jobs)
SELECT clock.now, :actor::text, :action::text, :detail::text::json, :job_id::bigint, :jobs::bigint FROM clock
RETURNING id;
