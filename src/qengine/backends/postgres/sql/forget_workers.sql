-- Forget workers not heard of for more than :older seconds.
DELETE FROM {schema}.qengine_workers
WHERE heartbeat < coalesce(:now::timestamptz, statement_timestamp()) - make_interval(secs => :older::float8)
RETURNING id;
