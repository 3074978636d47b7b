"""The statements of this backend, by verb."""

from __future__ import annotations

import re

from qengine.backends.sqlfile import load

PACKAGE = "qengine.backends.sqlite"


_VARIANTS = {
    "{lane}": {"": "crashes < 2", "_suspects": "crashes >= 2"},
    "{held}": {
        "": "RETURNING qengine_jobs.id",
        "_all": "AND :count = (SELECT count(*) FROM json_each(:leases) AS lease CROSS JOIN qengine_jobs AS jobs "
        "WHERE jobs.id = lease.key AND jobs.lease_token = lease.value)",
    },
}
"""What a marker stands for, by the ending of the verb."""


def _load() -> dict[str, str]:
    """Without comments: the driver judges a statement by its first word."""
    texts = {verb: re.sub(r"--[^\n]*\n", "", statement.text).strip() for verb, statement in load(PACKAGE).items()}
    for marker, variants in _VARIANTS.items():
        for verb in [verb for verb, text in texts.items() if marker in text]:
            text = texts.pop(verb)
            texts |= {verb + ending: text.replace(marker, part) for ending, part in variants.items()}
    return texts


SQL = _load()
