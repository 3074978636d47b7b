"""Whatever the codec takes comes back as it was, in values and types; whatever else, it refuses with a PayloadError."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import pathlib
import uuid
from dataclasses import dataclass
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from qengine.codec import PayloadCodec
from qengine.errors import PayloadError


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


@dataclass
class Line:
    text: str
    price: decimal.Decimal | None
    colours: list[Colour]


class Order(msgspec.Struct):
    id: uuid.UUID
    lines: dict[str, Line]
    due: dt.datetime | None = None


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
INTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ZONES = st.none() | st.timezones() | st.integers(-1439, 1439).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))
MOMENTS = st.datetimes(min_value=dt.datetime(1980, 1, 1), timezones=ZONES)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | INTS | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
LINES = st.builds(Line, text=TEXT, price=st.none() | DECIMALS, colours=st.lists(st.sampled_from(Colour), max_size=3))
ORDERS = st.builds(Order, id=st.uuids(), lines=st.dictionaries(TEXT, LINES, max_size=3), due=st.none() | MOMENTS)
TYPED: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: INTS,
    float: FLOATS,
    bool: st.booleans(),
    bytes: st.binary(max_size=20),
    dt.datetime: MOMENTS,
    dt.date: st.dates(),
    dt.time: st.times(),
    dt.timedelta: st.timedeltas(),
    decimal.Decimal: DECIMALS,
    uuid.UUID: st.uuids(),
    Colour: st.sampled_from(Colour),
    pathlib.Path: TEXT.map(pathlib.Path),
    Line: LINES,
    Order: ORDERS,
    tuple[int, str]: st.tuples(INTS, TEXT),
    tuple[float, ...]: st.lists(FLOATS, max_size=3).map(tuple),
    set[str]: st.sets(TEXT, max_size=3),
    frozenset[int]: st.frozensets(INTS, max_size=3),
    dict[int, list[dt.date]]: st.dictionaries(INTS, st.lists(st.dates(), max_size=2), max_size=3),
    dict[dt.date, bytes]: st.dictionaries(st.dates(), st.binary(max_size=5), max_size=3),
    Any: PLAIN,
}


def codec_of(annotation: Any) -> PayloadCodec:
    def handler(value, more=None): ...

    handler.__annotations__ = {"value": annotation}
    return PayloadCodec(handler, skip_first=False)


CODECS = {annotation: codec_of(annotation) for annotation in TYPED}


def exact(value: Any) -> Any:
    """A value with its type spelt out, where `==` is too kind."""
    if isinstance(value, dict):
        return [(exact(k), exact(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [exact(v) for v in value]
    if isinstance(value, Line):
        return [exact(getattr(value, f)) for f in ("text", "price", "colours")]
    if isinstance(value, Order):
        return [exact(getattr(value, f)) for f in ("id", "lines", "due")]
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=None, fold=0), value.utcoffset()
    if isinstance(value, dt.time):
        return value.replace(fold=0)
    if isinstance(value, (set, frozenset)):
        return type(value), value
    return type(value), repr(value)


@settings(deadline=None)
@given(st.data())
def test_what_is_taken_comes_back_exactly(data: st.DataObject) -> None:
    annotation = data.draw(st.sampled_from(list(TYPED)))
    value, more = data.draw(TYPED[annotation]), data.draw(PLAIN)
    codec = CODECS[annotation]
    text = codec.encode((), {"value": value, "more": more})
    back = codec.decode(text)
    assert exact(back["value"]) == exact(value)
    assert exact(back["more"]) == exact(more)
    assert json.loads(text).keys() == {"value", "more"}


WILD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=5)
    | st.binary(max_size=5)
    | st.dates()
    | st.decimals()
    | st.uuids()
    | LINES
    | ORDERS
    | st.builds(object),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers() | st.text(max_size=3) | st.none() | st.dates(), inner, max_size=3)
        | st.frozensets(st.integers() | st.text(max_size=3), max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.sampled_from(list(TYPED)), WILD, st.booleans())
def test_whatever_is_given_is_kept_or_refused_by_name(annotation: Any, value: Any, plain: bool) -> None:
    codec = CODECS[annotation]
    refused = None
    try:
        text = codec.encode((), {"value": value}, plain=plain)
    except PayloadError as error:
        refused = error
    if refused is not None:
        assert refused.parameter == "value"
        str(refused).encode()
        return
    assert "\0" not in text
    assert "\\u0000" not in text.replace("\\\\", "")
    text.encode()
    back = codec.decode(text)["value"]
    assert plain or back == value or exact(back) == exact(value)


@settings(deadline=None)
@given(st.sampled_from(list(TYPED)), PLAIN)
def test_any_stored_json_is_read_or_refused(annotation: Any, stored: Any) -> None:
    refused = None
    try:
        CODECS[annotation].decode(json.dumps({"value": stored}))
    except PayloadError as error:
        refused = error
    assert refused is None or refused.parameter == "value"


@settings(deadline=None)
@given(st.text() | PLAIN.map(json.dumps))
def test_any_stored_text_is_read_or_refused(text: str) -> None:
    for codec in CODECS.values():
        try:
            assert codec.decode(text).keys() <= {"value", "more"}
        except PayloadError:
            continue
