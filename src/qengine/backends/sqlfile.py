"""SQL in files named by their verb: loading them, and numbering their parameters for drivers that want numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from importlib.resources import files
from typing import Any

_PARAMETER = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")
_SKIPPED = re.compile(r"'(?:[^']|'')*'|--[^\n]*")


class Statement:
    """One statement. Its parameters are written `:name`, in every file of every backend."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parameters, in the order of their first use."""
        return tuple(dict.fromkeys(_PARAMETER.findall(_SKIPPED.sub("", self.text))))

    @cached_property
    def numbered(self) -> str:
        """The text with `$1`, `$2`, … for the parameters, in the order of `names`; comments are left out."""
        number = {name: f"${i}" for i, name in enumerate(self.names, 1)}
        parts, at = [], 0
        for skipped in _SKIPPED.finditer(self.text):
            parts.append(_PARAMETER.sub(lambda m: number[m[1]], self.text[at : skipped.start()]))
            parts.append("" if skipped[0].startswith("--") else skipped[0])
            at = skipped.end()
        parts.append(_PARAMETER.sub(lambda m: number[m[1]], self.text[at:]))
        return "".join(parts).strip().rstrip(";")

    def bind(self, values: Mapping[str, Any]) -> list[Any]:
        """The values in the order of the numbers; a missing one is a KeyError."""
        return [values[name] for name in self.names]


def load(package: str, replace: Mapping[str, str] | None = None) -> dict[str, Statement]:
    """The statements in the `sql` folder of `package`, by file name without the ending.

    `replace` maps markers such as `{schema}` to text that was validated as an identifier.
    """
    found = {}
    for file in (files(package) / "sql").iterdir():
        if file.name.endswith(".sql"):
            found[file.name[: -len(".sql")]] = Statement(replaced(file.read_text(encoding="utf-8"), replace))
    return found


def replaced(text: str, replace: Mapping[str, str] | None) -> str:
    """`text` with each marker replaced."""
    for marker, value in (replace or {}).items():
        text = text.replace(marker, value)
    return text
