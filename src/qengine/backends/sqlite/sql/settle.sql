-- Any end. :done maps ids to [token, status, result, delay, spent, ended, reason, error, group, logged, traceback].
UPDATE qengine_jobs SET
    status = done.status,
    result = CASE WHEN done.status = 'completed' THEN done.result ELSE qengine_jobs.result END,
    dead_reason = CASE WHEN done.status = 'dead' THEN done.reason END,
    attempts = CASE WHEN done.spent THEN attempts ELSE max(attempts - 1, 0) END,
    crashes = CASE WHEN done.ended THEN 0 ELSE crashes END,
    last_error = coalesce(done.error, last_error),
    error_group = CASE WHEN done.error IS NULL THEN qengine_jobs.error_group ELSE done.error_group END,
    scheduled_for = CASE WHEN done.status IN ('pending', 'failed') AND done.delay IS NOT NULL THEN min(:now + done.delay, :latest)
        ELSE scheduled_for END,
    rank = CASE WHEN done.status NOT IN ('pending', 'failed') THEN NULL
        WHEN done.delay IS NULL THEN scheduled_for + priority * :ageing
        WHEN done.delay <= 0 THEN :now + done.delay + priority * :ageing END,
    completed_at = CASE WHEN done.status IN ('completed', 'dead', 'cancelled') THEN :now END,
    locked_by = NULL, locked_until = NULL, lease_token = lease_token + 1, updated_at = :now
FROM (
    SELECT
        key AS id,
        json_extract(value, '$[0]') AS token,
        json_extract(value, '$[1]') AS status,
        json_extract(value, '$[2]') AS result,
        json_extract(value, '$[3]') AS delay,
        json_extract(value, '$[4]') AS spent,
        json_extract(value, '$[5]') AS ended,
        json_extract(value, '$[6]') AS reason,
        json_extract(value, '$[7]') AS error,
        json_extract(value, '$[8]') AS error_group
    FROM json_each(:done)
) AS done
WHERE qengine_jobs.id = done.id AND lease_token = done.token
RETURNING qengine_jobs.id
