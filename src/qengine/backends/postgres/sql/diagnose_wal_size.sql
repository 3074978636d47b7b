-- What the write-ahead log takes on disk.
SELECT coalesce(sum(size), 0)::float8 AS size FROM pg_ls_waldir();
