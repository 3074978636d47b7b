"""An async job queue in the database you already have."""
