DELETE FROM qengine_workers WHERE heartbeat < :now - :older
