-- For the watcher, after any commit of others: the last job's id, and whether any job is in line.
SELECT
    (SELECT seq FROM sqlite_sequence WHERE name = 'qengine_jobs'),
    EXISTS (SELECT 1 FROM qengine_jobs WHERE rank IS NOT NULL AND crashes < 2)
    OR EXISTS (SELECT 1 FROM qengine_jobs WHERE rank IS NOT NULL AND crashes >= 2)
