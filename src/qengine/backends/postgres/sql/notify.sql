-- Wake those who listen.
SELECT pg_notify(:channel::text, :message::text);
