-- Store what a worker did. The lists come as texts, since an array of arrays of different lengths is none.
INSERT INTO {schema}.qengine_activity (step, start, worker, type, completed, failed, dead, other, waits, runs)
SELECT step, start, worker, type, completed, failed, dead, other, waits::bigint[], runs::bigint[]
FROM unnest(:steps::integer[], :starts::bigint[], :workers::text[], :types::text[], :completed::bigint[], :failed::bigint[],
    :dead::bigint[], :other::bigint[], :waits::text[], :runs::text[])
  AS new (step, start, worker, type, completed, failed, dead, other, waits, runs)
ON CONFLICT (step, start, worker, type) DO UPDATE
SET completed = excluded.completed, failed = excluded.failed, dead = excluded.dead, other = excluded.other,
  waits = excluded.waits, runs = excluded.runs;
