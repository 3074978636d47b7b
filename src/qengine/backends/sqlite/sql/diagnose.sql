-- What `diagnose` looks at: figures of the file and of upkeep that lags behind, counted up to 1,000.
SELECT
    (SELECT journal_mode FROM pragma_journal_mode),
    (SELECT page_size FROM pragma_page_size),
    (SELECT page_count FROM pragma_page_count),
    (SELECT freelist_count FROM pragma_freelist_count),
    (SELECT json_group_array(name) FROM sqlite_master WHERE type IN ('index', 'trigger')),
    (SELECT count(*) FROM (SELECT 1 FROM qengine_jobs WHERE status = 'processing' AND locked_until <= :now - :late LIMIT 1000)),
    (SELECT count(*) FROM (
        SELECT 1 FROM qengine_jobs
        WHERE rank IS NULL AND status IN ('pending', 'failed') AND scheduled_for <= :now - :late LIMIT 1000
    )),
    (SELECT max(heartbeat) FROM qengine_workers)
