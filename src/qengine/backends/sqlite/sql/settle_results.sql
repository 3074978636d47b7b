-- The usual end, with results. :done maps ids to [token, result]; the rest is as in settle_completed.sql.
UPDATE qengine_jobs SET
    status = 'completed', crashes = 0, locked_by = NULL, locked_until = NULL, lease_token = lease_token + 1,
    completed_at = :now, updated_at = :now, result = json_extract(done.value, '$[1]')
FROM json_each(:done) AS done
WHERE qengine_jobs.id = done.key AND lease_token = json_extract(done.value, '$[0]')
{held}
