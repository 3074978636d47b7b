-- Delete the slots that ended longer ago than is said for their step; :kept maps steps to seconds.
DELETE FROM qengine_activity
WHERE (step, start, worker, type) IN (
    SELECT old.step, old.start, old.worker, old.type FROM json_each(:kept) AS kept CROSS JOIN qengine_activity AS old
    WHERE old.step = CAST(kept.key AS INTEGER) AND old.start < :now - kept.value - old.step
    LIMIT 10000
)
