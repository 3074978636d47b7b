-- Delete the slots that ended longer ago than their step is kept; a part of them, where there are very many.
DELETE FROM {schema}.qengine_activity
WHERE ctid = ANY(ARRAY(
  SELECT old.ctid
  FROM unnest(:steps::integer[], :kept::float8[]) AS kept (step, seconds), LATERAL (
    SELECT a.ctid FROM {schema}.qengine_activity AS a
    WHERE a.step = kept.step
      AND a.start < extract(epoch FROM coalesce(:now::timestamptz, statement_timestamp()))::bigint - kept.seconds::bigint - kept.step
    ORDER BY a.start
    LIMIT 10000
    FOR UPDATE SKIP LOCKED
  ) AS old
));
