-- Delete the oldest entries, once they have been kept for so many seconds.
DELETE FROM qengine_audit
WHERE id IN (SELECT id FROM qengine_audit ORDER BY id LIMIT 100) AND at < :now - :kept
