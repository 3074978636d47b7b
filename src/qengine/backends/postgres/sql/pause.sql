-- Pause a type or queue. A pause is never shortened.
INSERT INTO {schema}.qengine_pauses AS p (kind, name, until)
SELECT :kind::text, :name::text, coalesce(:at::timestamptz, clock.now + make_interval(secs => :seconds::float8))
FROM (SELECT coalesce(:now::timestamptz, statement_timestamp()) AS now) AS clock
ON CONFLICT (kind, name) DO UPDATE
SET until = CASE WHEN p.until IS NULL OR excluded.until IS NULL THEN NULL ELSE greatest(p.until, excluded.until) END;
