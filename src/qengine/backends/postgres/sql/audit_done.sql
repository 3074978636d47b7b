-- Store how many jobs an action touched.
UPDATE {schema}.qengine_audit SET jobs = :jobs::bigint WHERE id = :id::bigint;
