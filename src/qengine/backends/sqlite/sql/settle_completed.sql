-- The usual end. :leases maps ids to tokens. {held}: return the ids; or else, which is cheaper, do nothing unless all are held.
UPDATE qengine_jobs SET
    status = 'completed', crashes = 0, locked_by = NULL, locked_until = NULL, lease_token = lease_token + 1,
    completed_at = :now, updated_at = :now
FROM json_each(:leases) AS done
WHERE qengine_jobs.id = done.key AND lease_token = done.value
{held}
