"""The statements of this backend, by verb."""

from __future__ import annotations

import re

from qengine.backends.sqlfile import load

PACKAGE = "qengine.backends.sqlite"


def _load() -> dict[str, str]:
    """Without comments: the driver judges a statement by its first word."""
    texts = {verb: re.sub(r"--[^\n]*\n", "", statement.text).strip() for verb, statement in load(PACKAGE).items()}
    for verb in [verb for verb, text in texts.items() if "{lane}" in text]:
        text = texts.pop(verb)
        texts[verb] = text.replace("{lane}", "crashes < 2")
        texts[f"{verb}_suspects"] = text.replace("{lane}", "crashes >= 2")
    return texts


SQL = _load()
