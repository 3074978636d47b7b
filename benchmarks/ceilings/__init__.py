"""What the databases and the event loop can do by themselves, on qengine's own tables: the limits to compare with."""
