-- :leases maps ids to tokens.
UPDATE qengine_jobs SET locked_until = :now + :seconds
FROM json_each(:leases) AS held
WHERE qengine_jobs.id = held.key AND lease_token = held.value
RETURNING qengine_jobs.id, lease_token
