"""Logging for machines: one JSON object a line, from the records of the standard library's `logging`.

    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])

`qengine worker --log-json` does this. Lines look so:

    {"time": "2026-03-01T09:30:00.125Z", "level": "info", "logger": "qengine.job", "message": "42 rows", "job_id": 7,
     "type": "import_page", "attempt": 1, "worker": "0c4f…"}
"""

from __future__ import annotations

import datetime as dt
import json
import logging

JOB_FIELDS = ("job_id", "type", "attempt", "worker")
"""What a record tells of a job, where it is about one; `ctx.log` adds them to each record."""


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON: time, level, logger, message; then, where there are any, the fields of
    JOB_FIELDS, `exception` (the traceback) and `stack`.

    Times are UTC. Nothing else of a record is written, whatever a call adds as `extra`: so no payload gets into the log
    unless someone puts it into the message. The text is ASCII, and a line is never broken.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, without the newline."""
        line: dict[str, object] = {
            "time": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        for name in JOB_FIELDS:
            if (value := getattr(record, name, None)) is not None:
                line[name] = value
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            line["exception"] = record.exc_text
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, default=str)


def _message(record: logging.LogRecord) -> str:
    """The message; where its arguments do not fit it, what can be told of it, as a line that is lost tells nothing."""
    try:
        return record.getMessage()
    except Exception as error:
        return f"{record.msg} [the arguments of this message do not fit it: {type(error).__name__}]"
