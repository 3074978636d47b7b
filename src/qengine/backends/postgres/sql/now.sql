-- The clock.
SELECT coalesce(:now::timestamptz, clock_timestamp()) AS now;
