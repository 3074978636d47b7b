-- What upkeep has left lying: leases that ended, and due jobs that nobody put in line; by the heads of their indexes.
SELECT
  (SELECT count(*) FROM (
    SELECT FROM {schema}.qengine_jobs WHERE status = 'processing' AND locked_until < clock.now ORDER BY locked_until LIMIT 1000
  ) AS overdue) AS overdue,
  extract(epoch FROM clock.now
    - (SELECT min(locked_until) FROM {schema}.qengine_jobs WHERE status = 'processing'))::float8 AS overdue_for,
  extract(epoch FROM clock.now
    - (SELECT min(scheduled_for) FROM {schema}.qengine_jobs WHERE rank IS NULL AND status IN ('pending', 'failed')))::float8
    AS waiting_for,
  (SELECT count(*) FROM {schema}.qengine_workers WHERE heartbeat >= clock.now - make_interval(secs => :live_within::float8))
    AS workers
FROM (SELECT coalesce(:now::timestamptz, statement_timestamp()) AS now) AS clock;
