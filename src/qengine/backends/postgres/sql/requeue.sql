-- Put ended jobs back: number i of them (from 0, in the order of ids) in :begin + i * :spacing seconds, in line at once
-- where that is now. One whose unique key a live job has is left alone; of several with one key, the first
-- goes. :looked, in each row, is how many were candidates: fewer than the limit means that there are no more.
WITH clock AS (
  SELECT coalesce(:now::timestamptz, statement_timestamp()) AS now
), candidates AS MATERIALIZED (
  SELECT id, type, unique_key
  FROM {schema}.qengine_jobs AS j
  WHERE status IN ('dead', 'cancelled', 'completed')
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
    AND (unique_key IS NULL OR NOT EXISTS (
      SELECT FROM {schema}.qengine_jobs AS live
      WHERE live.type = j.type AND live.unique_key = j.unique_key AND live.unique_key IS NOT NULL
        AND live.status IN ('pending', 'processing', 'failed')
    ))
  ORDER BY id
  LIMIT :limit::integer
  FOR UPDATE OF j
), chosen AS (
  SELECT id, least(:begin::float8 + :spacing::float8 * (row_number() OVER (ORDER BY id) - 1), 1e11) AS delay
  FROM (
    SELECT id, unique_key, row_number() OVER (PARTITION BY type, unique_key ORDER BY id) AS nth FROM candidates
  ) AS c
  WHERE unique_key IS NULL OR nth = 1
), requeued AS (
  UPDATE {schema}.qengine_jobs AS j
  SET status = 'pending', scheduled_for = clock.now + make_interval(secs => c.delay),
    rank = CASE WHEN c.delay <= 0 THEN date_part('epoch', clock.now) + j.priority * :ageing::float8 END,
    attempts = 0, crashes = 0, lease_token = j.lease_token + 1, result = NULL, dead_reason = NULL, completed_at = NULL,
    expires_at = CASE WHEN j.expires_at > clock.now THEN j.expires_at END, updated_at = clock.now
  FROM clock, chosen AS c
  WHERE j.id = ANY(ARRAY[c.id])
  RETURNING j.id
)
SELECT id, (SELECT count(*) FROM candidates) AS looked, (SELECT pg_notify(:channel::text, '')) AS notified
FROM requeued
ORDER BY id;
