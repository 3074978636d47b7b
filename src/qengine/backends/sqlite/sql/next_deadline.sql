-- When the next job comes due, and when the next lease ends.
SELECT
    (SELECT min(scheduled_for) FROM qengine_jobs WHERE rank IS NULL AND status IN ('pending', 'failed')),
    (SELECT min(locked_until) FROM qengine_jobs WHERE status = 'processing')
