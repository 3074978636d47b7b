"""What JSON text in a database can hold of Python values, and what comes back of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import math
import pathlib
import sys
import typing
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import msgspec

from qengine.signatures import type_name

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
"""The integers that both databases, and JSON readers in other languages, keep exactly."""

MAX_DEPTH = 200
"""How deep containers may be nested: more than anyone means, and less than what makes a JSON reader give up."""

SCALARS = (str, int, float, bool, type(None))


def to_json(value: Any) -> Any:
    """Give msgspec's encoder something that it knows for a value that it does not (its `enc_hook`)."""
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if isinstance(value, str):  # a subclass, which msgspec does not take; so with the next
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return dt.timedelta(value.days, value.seconds, value.microseconds)
    if isinstance(value, decimal.Decimal):
        return str(value)
    model = _pydantic_model()
    if model is not None and isinstance(value, model):
        return msgspec.Raw(typing.cast("Any", value).model_dump_json(by_alias=True, round_trip=True).encode())
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (Sequence, Set)):
        return list(value)
    raise NotImplementedError(f"{type_name(type(value))} is not a type that JSON or qengine knows")


def from_json(kind: Any, value: Any) -> Any:
    """Make a value of a type that msgspec's decoder does not know (its `dec_hook`)."""
    origin = typing.get_origin(kind) or kind
    if origin is object:
        return value
    if isinstance(origin, type):
        if issubclass(origin, pathlib.PurePath):
            return origin(_expect(value, str))
        if origin is Iterable or issubclass(origin, deque):
            (item,) = typing.get_args(kind) or (Any,)
            items = msgspec.convert(value, list[item], str_keys=True, dec_hook=from_json)  # type: ignore[valid-type]
            return items if origin is Iterable else typing.cast("type[deque[Any]]", origin)(items)
        model = _pydantic_model()
        if model is not None and issubclass(origin, model):
            return typing.cast("Any", kind).model_validate_json(msgspec.json.encode(value))
        for base in (str, int, float):
            if issubclass(origin, base):
                return origin(_expect(value, base))
    raise TypeError(f"{type_name(kind)} cannot be read from JSON")


def is_clean(values: Iterable[Any], depth: int = 0) -> bool:
    """Whether `unstorable` would surely find nothing in these, texts aside: the quick answer for what is nearly always so."""
    for value in values:
        kind = type(value)
        if kind in _HARMLESS:
            continue
        if kind is int:
            clean = INT_MIN <= value <= INT_MAX
        elif kind is float:
            clean = math.isfinite(value)
        elif depth == MAX_DEPTH:
            clean = False
        elif kind is dict:
            clean = is_clean(value, depth + 1) and is_clean(value.values(), depth + 1)
        else:
            clean = kind in _COLLECTIONS and is_clean(value, depth + 1)
        if not clean:
            return False
    return True


_HARMLESS = frozenset((str, bool, type(None), bytes, uuid.UUID, dt.datetime, dt.date, dt.time, dt.timedelta))
_COLLECTIONS = frozenset((list, tuple, set, frozenset))


def unstorable(value: Any) -> str | None:
    """What in `value` no database would give back as it is, said so that a name can stand before it; None: nothing."""
    return _search(value, "", frozenset())


def is_plain(value: Any) -> bool:
    """Whether `value` is what a JSON text decodes to."""
    if type(value) is dict:
        return all(type(key) is str and is_plain(item) for key, item in value.items())
    if type(value) is list:
        return all(is_plain(item) for item in value)
    return type(value) in SCALARS


def is_same(given: Any, back: Any, loose: bool) -> bool:
    """Whether `back`, decoded, is as good as what was `given`: equal, and of its type or of one that it is a subclass of.

    An int is as good as a float that equals it. With `loose`, any sequence is as good as another, and so with sets and
    mappings. A record (dataclass, Struct, model) is judged by its fields, whatever its own `==` says.
    """
    kind = type(back)
    if kind is float and type(given) is int:
        return bool(given == back)
    if not isinstance(given, kind):
        if not loose:
            return False
        given = _as_concrete(given, kind)
        if given is None:
            return False
    if kind is bool or kind is type(None):
        return given is back
    if isinstance(given, bool):
        return False
    if kind in (list, tuple, deque):
        return len(given) == len(back) and _all_same(zip(given, back, strict=True), loose)
    if kind is dict:
        return given.keys() == back.keys() and _all_same(((value, back[key]) for key, value in given.items()), loose)
    if isinstance(back, dt.datetime):
        # Not `==` alone: in the hour that clocks repeat, times of different zones never compare equal.
        return bool(given.replace(tzinfo=None) == back.replace(tzinfo=None) and given.utcoffset() == back.utcoffset())
    record = fields(back)
    if record is not None:
        mine, theirs = dict(record), dict(fields(given) or ())
        return type(given) is kind and mine.keys() == theirs.keys() and _all_same(((theirs[n], mine[n]) for n in mine), loose)
    return bool(given == back)


def _all_same(pairs: Iterable[tuple[Any, Any]], loose: bool) -> bool:
    for given, back in pairs:
        kind = type(back)
        if not (given == back if type(given) is kind and kind in _EQUAL else is_same(given, back, loose)):
            return False
    return True


_EQUAL = frozenset((str, int, float, bool, type(None), bytes, uuid.UUID, decimal.Decimal, dt.date, dt.timedelta))
"""Types whose own `==` is exact."""


def fields(value: Any) -> Iterator[tuple[str, Any]] | None:
    """The fields of an object that is a record of some kind; None for anything else."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        return ((f.name, getattr(value, f.name, None)) for f in dataclasses.fields(kind))
    if issubclass(kind, msgspec.Struct):
        return ((name, getattr(value, name, None)) for name in kind.__struct_fields__)
    if hasattr(kind, "__attrs_attrs__"):
        return ((a.name, getattr(value, a.name, None)) for a in kind.__attrs_attrs__)
    model = _pydantic_model()
    if model is not None and issubclass(kind, model):
        return iter([*vars(value).items(), *(value.__pydantic_extra__ or {}).items()])
    return None


def shown(value: Any) -> str:
    """A value and its type, in a few words, for a message."""
    try:
        text = repr(value)
    except Exception:  # a broken __repr__ must not hide the real error
        text = object.__repr__(value)
    if len(text) > 60:
        text = text[:57] + "..."
    return f"{text} ({type_name(type(value))})"


def is_unicode(text: str) -> bool:
    """Whether `text` can be encoded, which half a surrogate pair cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _pydantic_model() -> type | None:
    """pydantic's BaseModel, if the application uses pydantic; it is never imported for its own sake."""
    return getattr(sys.modules.get("pydantic"), "BaseModel", None)


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")
    return value


def _as_concrete(given: Any, kind: type) -> Any:
    """A collection as the type that its abstract annotation decodes to; None when it is no such collection."""
    if kind is list and isinstance(given, (Sequence, deque)) and not isinstance(given, (str, bytes, bytearray)):
        return list(given)
    if kind is set and isinstance(given, Set):
        return set(given)
    if kind is dict and isinstance(given, Mapping):
        return dict(given)
    return None


def _search(value: Any, path: str, above: frozenset[int]) -> str | None:
    where = f" (at {path})" if path else ""
    if value is None or isinstance(value, (bytes, bytearray, uuid.UUID, dt.date, dt.time, dt.timedelta, enum.Enum)):
        return None
    if isinstance(value, str):
        if "\0" in value:
            return f"{where} has a NUL character, which databases refuse; remove it, or pass bytes"
        if not is_unicode(value):
            return f"{where} has half a surrogate pair, which is no Unicode text; decode it with errors='replace', or pass bytes"
        return None
    if isinstance(value, int):
        return None if INT_MIN <= value <= INT_MAX else f"{where} is an integer of more than 64 bits; pass it as a str"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{where} is {float(value)!r}, which JSON does not have; pass None or a number"
    if isinstance(value, decimal.Decimal):
        return None if value.is_finite() else f"{where} is {value}, which is no number; pass None or a number"
    if isinstance(value, pathlib.PurePath):
        return _search(str(value), path, above)
    if id(value) in above:
        return " contains itself; pass something flatter"
    if len(above) == MAX_DEPTH:
        return f" is nested more than {MAX_DEPTH} deep; pass something flatter"
    return _search_inside(value, path, above | {id(value)})


def _search_inside(value: Any, path: str, above: frozenset[int]) -> str | None:
    for step, item in _items(value):
        inner = path + step
        if len(inner) > 200:
            inner = inner[:100] + "…" + inner[-90:]
        if (problem := _search(item, inner, above)) is not None:
            return problem
    return None


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value holds, each with the step that leads to it; keys count as held."""
    record = fields(value)
    if record is not None:
        yield from ((f".{name}", item) for name, item in record)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            step = f"[{key!r}]"
            yield step, key
            yield step, item
    elif isinstance(value, (list, tuple, Sequence, Set, deque)):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
