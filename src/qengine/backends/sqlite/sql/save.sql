-- What is NULL is left as it is.
UPDATE qengine_jobs SET progress = coalesce(:progress, progress), checkpoint = coalesce(:checkpoint, checkpoint), updated_at = :now
WHERE id = :id AND lease_token = :token
