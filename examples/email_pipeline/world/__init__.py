"""The outside world: a mail server and a web server, as unreliable as the real ones, and a record of what they saw."""
