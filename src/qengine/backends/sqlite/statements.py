"""The statements of this backend, by verb."""

from __future__ import annotations

import re

from qengine.backends.sqlfile import load

PACKAGE = "qengine.backends.sqlite"


def _load() -> dict[str, str]:
    """Without comments: the driver judges a statement by its first word."""
    texts = {verb: re.sub(r"--[^\n]*\n", "", statement.text).strip() for verb, statement in load(PACKAGE).items()}
    claim = texts.pop("claim")
    return texts | {
        "claim": claim.replace("{lane}", "crashes < 2"),
        "claim_suspects": claim.replace("{lane}", "crashes >= 2"),
    }


SQL = _load()
