-- Jobs by filter against the order of ids, among the next :window of them and no more; with each row, from where to go on.
-- That the window is looked through, and its end found, only as far as the page needs, is why it stands in a LIMIT.
WITH found AS MATERIALIZED (
  SELECT * FROM (
    SELECT id, type, queue, priority, payload, status, attempts, max_attempts, crashes, last_error, dead_reason, scheduled_for, rank,
      locked_until, locked_by, lease_token, unique_key, partition_key, timeout, expires_at, result, progress, checkpoint, headers,
      created_at, updated_at, started_at, completed_at, error_group
    FROM {schema}.qengine_jobs
    WHERE id < :after::bigint
    ORDER BY id DESC
    LIMIT :window::integer
  ) AS looked
  WHERE (:above::bigint IS NULL OR id > :above::bigint)
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
  ORDER BY id DESC
  LIMIT :limit::integer
), reached AS (
  SELECT CASE
    WHEN (SELECT count(*) FROM found) >= :limit::integer THEN (SELECT min(id) FROM found)
    ELSE (SELECT id FROM {schema}.qengine_jobs WHERE id < :after::bigint ORDER BY id DESC OFFSET :window::integer - 1 LIMIT 1)
  END AS id
)
SELECT found.*, reached.id AS reached, EXISTS (SELECT FROM {schema}.qengine_jobs AS j WHERE j.id < reached.id) AS more
FROM reached LEFT JOIN found ON true
ORDER BY found.id DESC;
