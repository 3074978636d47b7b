-- Delete jobs; their history goes with them.
DELETE FROM {schema}.qengine_jobs AS j
WHERE j.id = ANY(ARRAY(
  SELECT id FROM {schema}.qengine_jobs
  WHERE true
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
  LIMIT :limit::integer
  FOR UPDATE
))
RETURNING j.id;
