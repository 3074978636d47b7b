-- For the rest of a transaction: wait no longer than this for a lock.
SELECT set_config('lock_timeout', '2s', true);
