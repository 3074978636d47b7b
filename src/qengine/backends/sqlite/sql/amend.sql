-- Change a job that waits, or the payload of one that is dead or was cancelled. What is NULL is left as it is.
UPDATE qengine_jobs SET
    payload = coalesce(:payload, payload), priority = coalesce(:priority, priority),
    scheduled_for = CASE WHEN :due_now THEN min(scheduled_for, :now) ELSE scheduled_for END,
    rank = CASE
        WHEN :due_now THEN min(scheduled_for, :now) + coalesce(:priority, priority) * :ageing
        WHEN rank IS NOT NULL AND :priority IS NOT NULL THEN scheduled_for + :priority * :ageing
        ELSE rank END,
    lease_token = lease_token + 1, updated_at = :now
WHERE id = :id AND (status IN ('pending', 'failed') OR (status IN ('dead', 'cancelled') AND :priority IS NULL AND NOT :due_now))
