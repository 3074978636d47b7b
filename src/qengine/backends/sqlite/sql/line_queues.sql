-- The next queue with jobs in line: a hop along the claim index. {lane} is `crashes < 2`, or `crashes >= 2` for suspects.
SELECT min(queue) FROM qengine_jobs
WHERE queue >= :least AND rank IS NOT NULL AND {lane}
