-- What was done in each slot with each type, summed over the workers; the lists bin by bin.
WITH slots AS MATERIALIZED (
  SELECT start, type, completed, failed, dead, other, waits, runs
  FROM {schema}.qengine_activity
  WHERE step = :step::integer AND start >= extract(epoch FROM :since::timestamptz)
), bins AS (
  SELECT start, type, bin, coalesce(sum(wait), 0)::bigint AS wait, coalesce(sum(run), 0)::bigint AS run
  FROM slots, unnest(waits, runs) WITH ORDINALITY AS listed (wait, run, bin)
  GROUP BY start, type, bin
), lists AS (
  SELECT start, type, array_agg(wait ORDER BY bin) AS waits, array_agg(run ORDER BY bin) AS runs FROM bins GROUP BY start, type
), sums AS (
  SELECT start, type, sum(completed)::bigint AS completed, sum(failed)::bigint AS failed, sum(dead)::bigint AS dead,
    sum(other)::bigint AS other
  FROM slots GROUP BY start, type
)
SELECT start, type, completed, failed, dead, other, coalesce(waits, '{}') AS waits, coalesce(runs, '{}') AS runs
FROM sums LEFT JOIN lists USING (start, type)
ORDER BY start, type;
