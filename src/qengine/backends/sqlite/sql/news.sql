-- For the watcher, after any commit of others: what tells whether jobs were added or pauses changed, and whether any job is
-- in line. (After an ANALYZE of a full line SQLite would look for one through the whole table.)
SELECT
    (SELECT seq FROM sqlite_sequence WHERE name = 'qengine_jobs'),
    (SELECT json_group_array(kind || name || coalesce(until, '')) FROM qengine_pauses),
    EXISTS (SELECT 1 FROM qengine_jobs INDEXED BY qengine_jobs_claim WHERE rank IS NOT NULL AND crashes < 2)
    OR EXISTS (SELECT 1 FROM qengine_jobs INDEXED BY qengine_jobs_suspects WHERE rank IS NOT NULL AND crashes >= 2)
