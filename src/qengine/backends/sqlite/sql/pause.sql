-- Pause a type or queue. A pause is never shortened.
INSERT INTO qengine_pauses (kind, name, until) VALUES (:kind, :name, :until)
ON CONFLICT (kind, name) DO UPDATE SET
    until = CASE WHEN until IS NULL OR excluded.until IS NULL THEN NULL ELSE max(until, excluded.until) END
