-- The usual end. :done maps ids to tokens.
UPDATE qengine_jobs SET
    status = 'completed', crashes = 0, locked_by = NULL, locked_until = NULL, lease_token = lease_token + 1,
    completed_at = :now, updated_at = :now
FROM json_each(:done) AS done
WHERE qengine_jobs.id = done.key AND lease_token = done.value
RETURNING qengine_jobs.id
