-- Seconds until the next job comes due or a lease ends.
SELECT extract(epoch FROM least(
    (SELECT min(scheduled_for) FROM {schema}.qengine_jobs WHERE rank IS NULL AND status IN ('pending', 'failed')),
    (SELECT min(locked_until) FROM {schema}.qengine_jobs WHERE status = 'processing')
  ) - coalesce(:now::timestamptz, statement_timestamp()))::float8 AS seconds;
