-- The jobs :ids, which claim.sql has just taken, in this order.
SELECT
    jobs.id, lease_token, jobs.type, queue, priority, payload, attempts, max_attempts, crashes, timeout, scheduled_for, created_at,
    expires_at, unique_key, partition_key, checkpoint, headers
FROM json_each(:ids) AS line CROSS JOIN qengine_jobs AS jobs ON jobs.id = line.value
