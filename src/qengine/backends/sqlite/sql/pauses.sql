SELECT kind, name, until FROM qengine_pauses
WHERE until IS NULL OR until > :now
ORDER BY kind, name
