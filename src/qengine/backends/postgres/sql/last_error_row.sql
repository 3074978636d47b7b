-- The latest row of all histories.
SELECT coalesce(max(id), 0) AS id FROM {schema}.qengine_errors;
