-- The lowest of the next :window jobs below :after; NULL when there are not as many: then all of them are looked through.
SELECT id FROM qengine_jobs WHERE id < :after
ORDER BY id DESC LIMIT 1 OFFSET :window - 1
