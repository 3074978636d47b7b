-- Under the token that the completion left behind.
UPDATE qengine_jobs SET result = :result, updated_at = :now
WHERE id = :id AND lease_token = :token
