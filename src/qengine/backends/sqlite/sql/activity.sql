-- What was done in each slot with each type, by all workers together; waits and runs: arrays of their arrays.
SELECT
    start, type, sum(completed), sum(failed), sum(dead), sum(other),
    '[' || group_concat(waits) || ']', '[' || group_concat(runs) || ']'
FROM qengine_activity
WHERE step = :step AND start >= :since
GROUP BY start, type ORDER BY start, type
