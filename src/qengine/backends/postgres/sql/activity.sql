-- What was done in each slot with each type, summed over the workers; the lists bin by bin, as many as WAIT_BOUNDS makes.
-- (To unnest and to group them is simpler to read, and takes five times as long.)
SELECT start, type, sum(completed)::bigint AS completed, sum(failed)::bigint AS failed, sum(dead)::bigint AS dead,
  sum(other)::bigint AS other,
  array_replace(ARRAY[
    sum(waits[1]), sum(waits[2]), sum(waits[3]), sum(waits[4]), sum(waits[5]), sum(waits[6]), sum(waits[7]), sum(waits[8]),
    sum(waits[9]), sum(waits[10]), sum(waits[11]), sum(waits[12]), sum(waits[13]), sum(waits[14]), sum(waits[15]),
    sum(waits[16]), sum(waits[17]), sum(waits[18]), sum(waits[19])
  ]::bigint[], NULL, 0) AS waits,
  array_replace(ARRAY[
    sum(runs[1]), sum(runs[2]), sum(runs[3]), sum(runs[4]), sum(runs[5]), sum(runs[6]), sum(runs[7]), sum(runs[8]),
    sum(runs[9]), sum(runs[10]), sum(runs[11]), sum(runs[12]), sum(runs[13]), sum(runs[14]), sum(runs[15]), sum(runs[16]),
    sum(runs[17]), sum(runs[18]), sum(runs[19])
  ]::bigint[], NULL, 0) AS runs
FROM {schema}.qengine_activity
WHERE step = :step::integer AND start >= ceil(extract(epoch FROM :since::timestamptz))::bigint
GROUP BY start, type
ORDER BY start, type;
