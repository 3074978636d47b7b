-- Store jobs of any shape, each an array, times in microseconds: as whole numbers they stay exact in JSON. A row whose unique key a live job has is left out.
INSERT INTO qengine_jobs (
    queue, type, priority, payload, max_attempts, scheduled_for, rank, unique_key, partition_key, timeout, expires_at, headers,
    created_at, updated_at
)
SELECT
    queue, type, priority, payload, max_attempts, scheduled_for,
    CASE WHEN scheduled_for <= :now THEN scheduled_for + priority * :ageing END,
    unique_key, partition_key, timeout, expires_at, headers, :now, :now
FROM (
    SELECT
        json_extract(value, '$[0]') AS queue,
        json_extract(value, '$[1]') AS type,
        json_extract(value, '$[2]') AS priority,
        json_extract(value, '$[3]') AS payload,
        json_extract(value, '$[4]') AS max_attempts,
        coalesce(json_extract(value, '$[5]') / 1e6, :now) AS scheduled_for,
        json_extract(value, '$[6]') AS unique_key,
        json_extract(value, '$[7]') AS partition_key,
        json_extract(value, '$[8]') AS timeout,
        json_extract(value, '$[9]') / 1e6 AS expires_at,
        json_extract(value, '$[10]') AS headers
    FROM json_each(:jobs)
)
WHERE true
ON CONFLICT (type, unique_key) WHERE unique_key IS NOT NULL AND status IN ('pending', 'processing', 'failed') DO NOTHING
RETURNING id, type, unique_key
