-- Jobs by filter, in the order of their ids. Planned for its parameters (see Core._desk): NULL means any.
SELECT id, type, queue, priority, payload, status, attempts, max_attempts, crashes, last_error, dead_reason, scheduled_for, rank,
  locked_until, locked_by, lease_token, unique_key, partition_key, timeout, expires_at, result, progress, checkpoint, headers,
  created_at, updated_at, started_at, completed_at, error_group
FROM {schema}.qengine_jobs
WHERE id > :after::bigint
  AND (:above::bigint IS NULL OR id > :above::bigint)
  AND (:ids::bigint[] IS NULL OR id = ANY(:ids::bigint[]))
  AND (:statuses::text[] IS NULL OR status = ANY(:statuses::text[]))
  AND (:type::text IS NULL OR type = :type::text)
  AND (:queue::text IS NULL OR queue = :queue::text)
  AND (:error_group::text IS NULL OR coalesce(error_group, last_error, dead_reason, '') = :error_group::text)
  AND (:created_before::timestamptz IS NULL OR created_at < :created_before::timestamptz)
  AND (:created_after::timestamptz IS NULL OR created_at > :created_after::timestamptz)
  AND (:ended_before::timestamptz IS NULL OR completed_at < :ended_before::timestamptz)
  AND (:text::text IS NULL OR strpos(lower(payload::text), lower(:text::text)) > 0
    OR strpos(lower(last_error), lower(:text::text)) > 0)
ORDER BY id
LIMIT :limit::integer;
