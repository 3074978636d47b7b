-- Put jobs whose time has come in line, earliest first.
UPDATE qengine_jobs SET rank = scheduled_for + priority * :ageing
WHERE id IN (
    SELECT id FROM qengine_jobs
    WHERE rank IS NULL AND status IN ('pending', 'failed') AND scheduled_for <= :now
    ORDER BY scheduled_for LIMIT :limit
)
