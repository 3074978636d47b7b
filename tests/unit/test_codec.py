"""What is stored of a handler's arguments, and what is refused, with the parameter's name."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import functools
import pathlib
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypedDict
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest
from naming import told

from qengine import codec
from qengine.codec import PayloadCodec
from qengine.errors import ConfigurationError, PayloadError
from qengine.values import MAX_DEPTH, from_json, is_same

BERLIN = ZoneInfo("Europe/Berlin")

AN_ID = uuid.UUID("5f1f2a52-0c4e-4b39-9d61-6a2f1b6ddc11")
A_TIME = dt.datetime(2026, 3, 4, 5, 6, 7, 891011, dt.UTC)


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Number(enum.IntEnum):
    ONE = 1


class Level(enum.StrEnum):
    HIGH = "high"


@dataclass
class Address:
    street: str
    file: pathlib.Path | None = None
    tags: list[str] = field(default_factory=list)


class Unequal:
    """Mixed in: no two are equal, as with classes that define no equality."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = object.__hash__


@dataclass(eq=False)
class Identity:
    n: int


class Point(msgspec.Struct):
    x: int
    y: float = 0.0


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)

    n: int
    when: dt.datetime
    tags: set[str] = set()
    other: int = pydantic.Field(default=1, alias="otherName")


class Nested(pydantic.BaseModel):
    inner: Model


class Pair(NamedTuple):
    a: int
    b: str


class Options(TypedDict):
    depth: int


@attrs.define
class Attributed:
    n: int
    when: dt.date | None = None


class Email(str):
    """A type of an application's own."""

    __slots__ = ()


class FakeDateTime(dt.datetime):
    """As test tools put in the place of datetime."""


def of(annotation: Any, **kwargs: Any) -> PayloadCodec:
    """The codec of a handler with one parameter, `value`, of this type."""

    def handler(value): ...

    handler.__annotations__ = {"value": annotation}
    return PayloadCodec(handler, skip_first=False, **kwargs)


def through(annotation: Any, value: Any) -> Any:
    codec = of(annotation)
    return codec.decode(codec.encode((), {"value": value}))["value"]


def refusal(annotation: Any, value: Any, *, plain: bool = False) -> PayloadError:
    with pytest.raises(PayloadError) as caught:
        of(annotation).encode((), {"value": value}, plain=plain)
    return caught.value


async def send(to: str, subject: str = "hi", *, copies: int = 1) -> None: ...


SEND = PayloadCodec(send, skip_first=False)


class TestWhatSurvives:
    @pytest.mark.parametrize(
        ("annotation", "value"),
        [
            (str, ""),
            (str, "a \\u0000 that is written out"),
            (str, "ü\U0001f600"),
            (int, 2**63 - 1),
            (int, -(2**63)),
            (float, 0.1),
            (float, -0.0),
            (bool, True),
            (None, None),
            (int | None, None),
            (bytes, b"\0\xff"),
            (bytearray, bytearray(b"\0\xff")),
            (uuid.UUID, AN_ID),
            (decimal.Decimal, decimal.Decimal("1.10")),
            (dt.datetime, dt.datetime(2024, 1, 1, 12, 0, 0, 1)),
            (dt.datetime, dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=5)))),
            (dt.date, dt.date(2024, 2, 29)),
            (dt.time, dt.time(23, 59, 59, 999999)),
            (dt.timedelta, dt.timedelta(days=-3, microseconds=1)),
            (Colour, Colour.BLUE),
            (Level, Level.HIGH),
            (Number, Number.ONE),
            (Literal["a", 1], 1),
            (pathlib.Path, pathlib.Path("/tmp/x")),
            (pathlib.PurePosixPath, pathlib.PurePosixPath("a/b")),
            (pathlib.Path | None, None),
            (list[pathlib.Path], [pathlib.Path("a")]),
            (Address, Address("Main St", pathlib.Path("x"), ["a"])),
            (Point, Point(1, 2.5)),
            (Model, Model(n=1, when=A_TIME, tags={"a"}, otherName=3)),
            (Nested, Nested(inner=Model(n=1, when=A_TIME))),
            (list[Model] | None, [Model(n=1, when=A_TIME)]),
            (Pair, Pair(1, "x")),
            (Options, {"depth": 3}),
            (Attributed, Attributed(1, dt.date(2024, 1, 1))),
            (Email, Email("a@example.com")),
            (tuple[int, ...], (1, 2)),
            (tuple[int, str], (1, "a")),
            (set[str], {"a"}),
            (frozenset[int], frozenset({1})),
            (collections.deque[int], collections.deque([1, 2])),
            (dict[int, Address], {1: Address("x")}),
            (dict[uuid.UUID, list[dt.date]], {AN_ID: [dt.date(2024, 1, 1)]}),
            (Annotated[int, msgspec.Meta(gt=0)], 3),
            (Any, {"a": [1, 2.5, None, True, {"b": "c"}]}),
            (object, [1]),
            ("object", "x"),
            (dict[str, object], {"a": [1]}),
            (list, [{"a": 1}]),
            (dict, {"a": 1}),
        ],
        ids=told,
    )
    def test_it_comes_back_equal_and_of_the_same_type(self, annotation: Any, value: Any) -> None:
        back = through(annotation, value)
        assert back == value
        assert type(back) is type(value)

    def test_a_sign_of_zero(self) -> None:
        assert str(through(float, -0.0)) == "-0.0"

    def test_digits_of_a_decimal(self) -> None:
        assert str(through(decimal.Decimal, decimal.Decimal("1.10"))) == "1.10"

    @pytest.mark.parametrize("fold", [0, 1])
    def test_the_hour_that_clocks_repeat(self, fold: int) -> None:
        moment = dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=fold)
        assert through(dt.datetime, moment).timestamp() == moment.timestamp()

    def test_an_int_for_a_float(self) -> None:
        assert through(float, 3) == 3.0
        assert through(list[float], [1, 2.5]) == [1.0, 2.5]

    def test_an_int_that_no_float_holds_is_refused(self) -> None:
        assert refusal(float, 2**53 + 1).parameter == "value"

    @pytest.mark.parametrize(
        ("annotation", "value", "back"),
        [
            (Sequence[int], (1, 2), [1, 2]),
            (Sequence[int], range(3), [0, 1, 2]),
            (Collection[str], ["a"], ["a"]),
            (Iterable[int], (1,), [1]),
            (AbstractSet[int], frozenset({1}), {1}),
            (Mapping[str, int], collections.ChainMap({"a": 1}), {"a": 1}),
            (dict[str, Sequence[int]], {"a": (1,)}, {"a": [1]}),
            (dict[str, int], collections.Counter(a=1), {"a": 1}),
            (str, Level.HIGH, "high"),
        ],
        ids=told,
    )
    def test_a_value_of_a_wider_annotation(self, annotation: Any, value: Any, back: Any) -> None:
        assert through(annotation, value) == back

    def test_subclasses_of_scalars_come_back_as_the_scalar(self) -> None:
        assert through(dt.datetime, FakeDateTime(2024, 1, 1, tzinfo=dt.UTC)) == dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
        for base, value in ((str, "x"), (int, 3), (float, 0.5), (bytes, b"x"), (decimal.Decimal, "1.0"), (dt.timedelta, 2)):
            sub: Any = type("Sub", (base,), {})
            assert through(base, sub(value)) == base(value)

    def test_a_record_without_equality_is_judged_by_its_fields(self) -> None:
        assert through(Identity, Identity(3)).n == 3

    def test_a_default_is_not_stored(self) -> None:
        assert SEND.encode((), {"to": "a"}) == '{"to":"a"}'
        assert SEND.decode('{"to":"a"}') == {"to": "a"}

    def test_by_position_is_by_name(self) -> None:
        assert SEND.encode(("a", "b"), {"copies": 2}) == '{"to":"a","subject":"b","copies":2}'

    def test_the_context_is_no_argument(self) -> None:
        def handler(ctx: NotThere, /, n: int) -> None: ...  # noqa: F821

        codec = PayloadCodec(handler, skip_first=True)
        assert codec.encode((3,), {}) == '{"n":3}'
        with pytest.raises(PayloadError, match="no parameter 'ctx'"):
            codec.encode((), {"ctx": 1, "n": 2})

    def test_a_handler_without_parameters(self) -> None:
        codec = PayloadCodec(lambda: None, skip_first=False)
        assert codec.encode((), {}) == "{}"
        assert codec.decode("{}") == {}

    def test_more_arguments_by_name(self) -> None:
        def handler(n: int, **rest: dt.date) -> None: ...

        codec = PayloadCodec(handler, skip_first=False)
        given = {"n": 1, "rest": dt.date(2024, 1, 1), "x": dt.date(2024, 1, 2)}
        assert codec.decode(codec.encode((), given)) == given
        with pytest.raises(PayloadError) as caught:
            codec.encode((), {"n": 1, "x": "tomorrow"})
        assert caught.value.parameter == "x"
        with pytest.raises(PayloadError):
            codec.decode('{"n":1,"x":"tomorrow"}')

    def test_wrapped_partial_bound_and_callable_objects(self) -> None:
        @functools.wraps(send)
        def wrapped(*args: Any, **kwargs: Any) -> Any: ...

        class Service:
            def method(self, when: dt.date) -> None: ...

            def __call__(self, when: dt.date) -> None: ...

        assert PayloadCodec(wrapped, skip_first=False).encode(("a",), {}) == '{"to":"a"}'
        partial = functools.partial(send, subject="x")
        assert PayloadCodec(partial, skip_first=False).encode((), {"to": "a"}) == '{"to":"a"}'
        for callable_ in (Service().method, Service()):
            assert PayloadCodec(callable_, skip_first=False).encode((dt.date(2024, 1, 1),), {}) == '{"when":"2024-01-01"}'


class TestWhatIsRefused:
    """Each kind of bad input is a PayloadError that names the parameter."""

    def test_a_missing_argument(self) -> None:
        with pytest.raises(PayloadError, match=r"send: parameter 'to' is missing") as caught:
            SEND.encode((), {"subject": "x"})
        assert caught.value.parameter == "to"

    def test_an_unknown_argument(self) -> None:
        with pytest.raises(PayloadError, match=r"send has no parameter 'too'.*to, subject, copies") as caught:
            SEND.encode((), {"to": "a", "too": "x"})
        assert caught.value.parameter == "too"

    def test_a_misspelt_argument_is_named_before_the_missing_one(self) -> None:
        with pytest.raises(PayloadError, match="no parameter 'too', and 'to' is missing") as caught:
            SEND.encode((), {"too": "x"})
        assert caught.value.parameter == "too"

    def test_an_argument_given_twice(self) -> None:
        with pytest.raises(PayloadError, match="given twice") as caught:
            SEND.encode(("a",), {"to": "b"})
        assert caught.value.parameter == "to"

    def test_an_argument_whose_name_is_no_text(self) -> None:
        arguments: Any = {"to": "a", 5: "x"}
        with pytest.raises(PayloadError, match=r"the name of an argument is a text, not 5 \(int\)"):
            SEND.encode((), arguments)

    def test_too_many_by_position(self) -> None:
        with pytest.raises(PayloadError, match="takes 2 arguments by position, 3 were given"):
            SEND.encode(("a", "b", 3), {})

    @pytest.mark.parametrize(
        ("annotation", "value"),
        [
            (str, 3),
            (str, b"x"),
            (str, dt.datetime(2024, 1, 1)),
            (str, dt.date(2024, 1, 1)),
            (str, pathlib.Path("x")),
            (str, AN_ID),
            (str, decimal.Decimal(1)),
            (str, Colour.RED),
            (str, None),
            (int, "3"),
            (int, 3.0),
            (int, True),
            (int | None, False),
            (list[int], [1, True]),
            (bool, 1),
            (float, "1.0"),
            (float, True),
            (bytes, "eA=="),
            (bytes, bytearray(b"x")),
            (dt.datetime, "2024-01-01T00:00:00"),
            (dt.datetime, dt.date(2024, 1, 1)),
            (dt.date, dt.datetime(2024, 1, 1)),
            (dt.timedelta, "P1D"),
            (uuid.UUID, "69838121-93f6-4f2a-b647-054478b95b6d"),
            (decimal.Decimal, 1),
            (decimal.Decimal, "1"),
            (Colour, "r"),
            (Literal["a"], "b"),
            (pathlib.Path, "x"),
            (Address, {"street": "x"}),
            (Address, Address(street=3)),
            (Point, {"x": 1}),
            (Model, {"n": 1}),
            (list[int], (1,)),
            (tuple[int, ...], [1]),
            (tuple[int, int], (1,)),
            (set[int], [1]),
            (set[int], frozenset({1})),
            (Sequence[str], "abc"),
            (dict[int, str], {"1": "a"}),
            (dict[str, int], {"a": "b"}),
            (Annotated[int, msgspec.Meta(gt=0)], 0),
        ],
        ids=told,
    )
    def test_another_type_than_the_annotation(self, annotation: Any, value: Any) -> None:
        error = refusal(annotation, value)
        assert error.parameter == "value"
        assert "parameter 'value'" in str(error)
        assert "\n" not in str(error)

    def test_the_wrong_one_of_several_is_named(self) -> None:
        def handler(a: int, b: int, c: int) -> None: ...

        with pytest.raises(PayloadError, match=r"takes int, not 'x' .str.: Expected `int`, got `str`") as caught:
            PayloadCodec(handler, skip_first=False).encode((), {"a": 1, "b": 2, "c": "x"})
        assert caught.value.parameter == "c"

    @pytest.mark.parametrize(
        "value",
        [
            (1,),
            {1},
            {1: "a"},
            {1: "a", "1": "b"},
            {True: "a"},
            {None: "a"},
            {"a": {2.5: 1}},
            {"a": (1,)},
            b"x",
            dt.datetime(2024, 1, 1),
            Address("x"),
            Colour.RED,
            Point(1),
        ],
        ids=told,
    )
    def test_what_json_would_change_under_a_parameter_without_type(self, value: Any) -> None:
        error = refusal(Any, value)
        assert error.parameter == "value"
        assert "annotate" in str(error) or "no JSON form" in str(error)

    @pytest.mark.parametrize(
        "bad", [float("nan"), float("inf"), float("-inf"), decimal.Decimal("NaN"), decimal.Decimal("Infinity")]
    )
    @pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x], lambda x: {"a": {"b": [1, x]}}, lambda x: Point(1, x)])
    def test_what_is_no_number(self, bad: Any, wrap: Callable[[Any], Any]) -> None:
        value = wrap(bad)
        annotation = Point if isinstance(value, Point) else Any if wrap(1) != 1 else type(bad)
        error = refusal(annotation, value)
        assert error.parameter == "value"
        assert "no number" in str(error) or "JSON does not have" in str(error)

    @pytest.mark.parametrize("text", ["a\0b", "\0", "\ud800", "x\udfff"])
    @pytest.mark.parametrize(
        ("annotation", "wrap"),
        [
            (str, lambda t: t),
            (Any, lambda t: [{"a": t}]),
            (Any, lambda t: {t: 1}),
            (dict[str, int], lambda t: {t: 1}),
            (Address, lambda t: Address(t)),
            (Address, lambda t: Address("x", None, [t])),
            (pathlib.Path, pathlib.Path),
            (Nested, lambda t: Nested(inner=Model(n=1, when=A_TIME, tags={t}))),
        ],
    )
    def test_text_that_databases_refuse(self, annotation: Any, wrap: Callable[[str], Any], text: str) -> None:
        error = refusal(annotation, wrap(text))
        assert error.parameter == "value"
        assert ("NUL" if "\0" in text else "surrogate") in str(error)
        str(error).encode()

    def test_the_place_is_named(self) -> None:
        assert "(at ['rows'][1]['x'])" in str(refusal(Any, {"rows": [{}, {"x": float("nan")}]}))

    def test_such_text_in_the_name_of_an_extra_argument(self) -> None:
        def handler(**rest: int) -> None: ...

        with pytest.raises(PayloadError, match="NUL"):
            PayloadCodec(handler, skip_first=False).encode((), {"a\0": 1})

    def test_text_that_only_a_serialiser_puts_in(self) -> None:
        class Odd(pydantic.BaseModel):
            text: str

            @pydantic.field_serializer("text")
            def _text(self, _: str) -> str:
                return "\0"

        assert refusal(Odd, Odd(text="x")).parameter == "value"
        with pytest.raises(PayloadError, match="NUL"):
            codec.encode(Odd(text="x"))

    @pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64, 10**30])
    @pytest.mark.parametrize(
        ("annotation", "wrap"), [(int, lambda n: n), (Any, lambda n: {"a": [n]}), (list[int], lambda n: [n])]
    )
    def test_integers_of_more_than_64_bits(self, annotation: Any, wrap: Callable[[int], Any], number: int) -> None:
        error = refusal(annotation, wrap(number))
        assert error.parameter == "value"
        assert "64 bits" in str(error)

    @pytest.mark.parametrize("value", [object(), lambda: 1, (i for i in ()), open, 1j, [object()], {"a": object()}], ids=told)
    @pytest.mark.parametrize("annotation", [Any, Address, dict[str, Any]])
    def test_objects_without_json_form(self, annotation: Any, value: Any) -> None:
        error = refusal(annotation, value)
        assert error.parameter == "value"
        assert "no JSON form" in str(error)

    def test_an_annotation_that_nothing_can_be_made_for(self) -> None:
        class Connection: ...

        assert refusal(Connection, Connection()).parameter == "value"
        with pytest.raises(PayloadError, match="cannot be read from JSON"):
            of(Connection).decode('{"value":1}')

    def test_an_annotation_that_is_no_type(self) -> None:
        with pytest.raises(TypeError, match="cannot be read from JSON"):
            from_json("no type", 1)

    def test_cycles_and_depth(self) -> None:
        cycle: list[Any] = []
        cycle.append(cycle)
        assert "contains itself" in str(refusal(Any, cycle))
        for depth, kept in ((MAX_DEPTH, True), (MAX_DEPTH + 1, False), (5000, False)):
            deep: list[Any] = []
            for _ in range(depth - 1):
                deep = [deep]
            if kept:
                assert through(Any, deep) == deep
            else:
                assert "nested more than 200 deep" in str(refusal(Any, deep))

    def test_a_repr_that_raises_hides_nothing(self) -> None:
        class Odd:
            def __repr__(self) -> str:
                raise RuntimeError

        assert "no JSON form" in str(refusal(Any, Odd()))

    def test_a_payload_over_the_limit_names_the_largest_argument(self) -> None:
        assert SEND.encode((), {"to": "x" * 91}, 100) == '{"to":"' + "x" * 91 + '"}'
        with pytest.raises(
            PayloadError, match=r"'to' takes 94 of the payload's 101 bytes.* limit is 100; .*payload_limit"
        ) as caught:
            SEND.encode((), {"to": "x" * 92}, 100)
        assert caught.value.parameter == "to"

    def test_the_limit_is_in_bytes(self) -> None:
        with pytest.raises(PayloadError, match="bytes"):
            SEND.encode((), {"to": "ü" * 50}, 100)

    def test_what_fails_only_once(self) -> None:
        fails = [True]

        class Moody(pydantic.BaseModel):
            n: int

            @pydantic.field_serializer("n")
            def _n(self, n: int) -> int:
                if fails.pop():
                    raise RuntimeError("not now")
                fails.append(False)
                return n

        fails[:] = [False, True]
        assert "not now" in str(refusal(Moody, Moody(n=1)))

    def test_what_cannot_be_read_only_once(self) -> None:
        @dataclass
        class Moody:
            n: int
            fails: ClassVar[list[bool]] = []

            def __post_init__(self) -> None:
                if self.fails and self.fails.pop():
                    raise RuntimeError("not now")

        value = Moody(1)
        Moody.fails[:] = [True]
        assert "not now" in str(refusal(Moody, value))

    def test_a_value_that_is_of_its_type_and_yet_would_change(self) -> None:
        old = dt.datetime(1850, 1, 1, tzinfo=BERLIN)  # its offset has seconds
        assert "would not come back" in str(refusal(dt.datetime, old))

    def test_a_field_that_is_left_out(self) -> None:
        class Secretive(pydantic.BaseModel):
            key: str = pydantic.Field(default="", exclude=True)

        assert "would not come back" in str(refusal(Secretive, Secretive(key="x")))

    def test_a_field_beyond_those_of_its_class(self) -> None:
        class Open(pydantic.BaseModel):
            model_config = pydantic.ConfigDict(extra="allow")

            @pydantic.model_serializer
            def _nothing(self) -> dict[str, Any]:
                return {}

        assert refusal(Open, Open(more=1)).parameter == "value"
        assert through(Open, Open()) == Open()

    def test_a_subclass_that_would_lose_its_own_fields(self) -> None:
        @dataclass
        class Longer(Address):
            more: int = 0

        assert refusal(Address, Longer("x")).parameter == "value"


@pytest.mark.parametrize(
    ("given", "back"),
    [(True, 1), (True, 1.0), (1, True), (1, 1.5), ((1,), [1]), ([1], [1, 2]), ({"a": 1}, {"b": 1}), ("a", b"a")],
)
@pytest.mark.parametrize("loose", [False, True])
def test_what_is_not_the_same(given: Any, back: Any, loose: bool) -> None:
    assert is_same(given, back, loose) is (loose and given == (1,))


class TestPlain:
    """By name, from a command line or another service, arguments come in their JSON form."""

    @pytest.mark.parametrize(
        ("annotation", "value", "back"),
        [
            (dt.date, "2024-01-01", dt.date(2024, 1, 1)),
            (bytes, "eA==", b"x"),
            (pathlib.Path, "x", pathlib.Path("x")),
            (Address, {"street": "x"}, Address("x")),
            (tuple[int, ...], [1], (1,)),
            (dict[int, str], {"1": "a"}, {1: "a"}),
            (Colour, "r", Colour.RED),
            (Model, {"n": 1, "when": "2024-01-01T00:00:00Z"}, Model(n=1, when=dt.datetime(2024, 1, 1, tzinfo=dt.UTC))),
            (dt.date, dt.date(2024, 1, 1), dt.date(2024, 1, 1)),
        ],
        ids=told,
    )
    def test_the_json_form_is_taken(self, annotation: Any, value: Any, back: Any) -> None:
        codec = of(annotation)
        assert codec.decode(codec.encode((), {"value": value}, plain=True)) == {"value": back}

    @pytest.mark.parametrize(
        ("annotation", "value"),
        [(str, b"x"), (int, "3"), (int, True), (dt.date, "soon"), (Address, {}), (Any, (1,)), (str, 3)],
        ids=told,
    )
    def test_what_is_not_it_is_refused(self, annotation: Any, value: Any) -> None:
        assert refusal(annotation, value, plain=True).parameter == "value"


class TestStoredPayloads:
    """A payload of another release, or one edited by hand, is told apart, never guessed at."""

    @pytest.mark.parametrize(
        ("text", "parameter"),
        [
            ('{"subject":"x"}', "to"),
            ("{}", "to"),
            ('{"to":1}', "to"),
            ('{"to":"a","copies":"two"}', "copies"),
            ('{"to":"a","gone":1}', "gone"),
            ("[1]", None),
            ("null", None),
            ("not json", None),
            ("", None),
            ('{"to":"a"', None),
        ],
    )
    def test_it_does_not_fit(self, text: str, parameter: str | None) -> None:
        with pytest.raises(PayloadError, match="does not fit") as caught:
            SEND.decode(text)
        assert caught.value.parameter == parameter

    def test_the_outermost_parameter_is_named(self) -> None:
        with pytest.raises(PayloadError, match="Expected `str`, got `int`") as caught:
            of(dict[str, list[Address]]).decode('{"value":{"a":[{"street":1}]}}')
        assert caught.value.parameter == "value"

    def test_a_constructor_that_raises(self) -> None:
        @dataclass
        class Picky:
            n: int

            def __post_init__(self) -> None:
                raise RuntimeError("no")

        with pytest.raises(PayloadError, match="does not fit: no"):
            of(Picky).decode('{"value":{"n":1}}')

    @pytest.mark.parametrize("text", ['{"value":3}', '{"value":["x"]}'])
    def test_types_that_qengine_reads_itself(self, text: str) -> None:
        for annotation in (pathlib.Path, Model, collections.deque[int]):
            with pytest.raises(PayloadError):
                of(annotation).decode(text)


class TestRegistration:
    def test_arguments_without_names(self) -> None:
        def star(*args: int) -> None: ...
        def slash(a: int, /) -> None: ...

        for fn, shown in ((star, r"\*args"), (slash, "positional-only 'a'")):
            with pytest.raises(ConfigurationError, match=shown):
                PayloadCodec(fn, skip_first=False)

    def test_annotations_that_cannot_be_resolved(self) -> None:
        class Local: ...

        def handler(a: Local) -> None: ...
        def nested(a: list[Unknown]) -> None: ...  # noqa: F821

        for fn, name in ((handler, "Local"), (nested, "Unknown")):
            with pytest.raises(ConfigurationError, match=f"the annotation of 'a' names '{name}'.* TYPE_CHECKING"):
                PayloadCodec(fn, skip_first=False)

    def test_a_type_whose_own_annotations_cannot_be_resolved(self) -> None:
        @dataclass
        class Holder:
            inner: Missing  # noqa: F821

        with pytest.raises(ConfigurationError, match="the type of 'value' names 'Missing'"):
            of(Holder)

    def test_an_annotation_that_raises(self) -> None:
        with pytest.raises(ConfigurationError, match="cannot be read"):
            of("1/0")

    @pytest.mark.parametrize("annotation", [str | dt.datetime, str | pathlib.Path, Address | Point], ids=told)
    def test_types_that_json_cannot_tell_apart(self, annotation: Any) -> None:
        with pytest.raises(ConfigurationError, match="parameter 'value': its type cannot be read back from JSON"):
            of(annotation)

    def test_a_builtin_without_signature(self) -> None:
        with pytest.raises(ConfigurationError, match="no signature"):
            PayloadCodec(type, skip_first=False)

    def test_annotations_that_are_only_evaluated_when_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(fn: Any) -> Any:
            raise NameError("name 'Gone' is not defined", name="Gone")

        monkeypatch.setattr("inspect.signature", missing)  # as from Python 3.14 on
        with pytest.raises(ConfigurationError, match="send: an annotation names 'Gone'"):
            PayloadCodec(send, skip_first=False)

    def test_a_return_annotation_that_cannot_be_resolved_is_let_be(self) -> None:
        def handler() -> Unknown: ...  # noqa: F821

        assert PayloadCodec(handler, skip_first=False).result([1]) == [1]


class TestResults:
    @pytest.mark.parametrize(
        ("annotation", "plain", "result"),
        [
            (Address, {"street": "x"}, Address("x")),
            (dict[int, dt.date], {"1": "2024-01-01"}, {1: dt.date(2024, 1, 1)}),
            (tuple[int, bytes], [1, "eA=="], (1, b"x")),
            (pathlib.Path, "x", pathlib.Path("x")),
            (Model, {"n": 1, "when": "2024-01-01T00:00:00Z"}, Model(n=1, when=dt.datetime(2024, 1, 1, tzinfo=dt.UTC))),
            (int, "not an int", "not an int"),
            (Address, [1], [1]),
            (Any, {"a": 1}, {"a": 1}),
            (None, {"a": 1}, {"a": 1}),
            (int, None, None),
        ],
        ids=told,
    )
    def test_the_annotation_where_it_fits(self, annotation: Any, plain: Any, result: Any) -> None:
        def handler(): ...

        handler.__annotations__ = {"return": annotation}
        assert PayloadCodec(handler, skip_first=False).result(plain) == result


class TestEncode:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, "null"),
            ("ü", '"ü"'),
            ({"a": (1, {2})}, '{"a":[1,[2]]}'),
            (Address("x"), '{"street":"x","file":null,"tags":[]}'),
            (Nested(inner=Model(n=1, when=dt.datetime(2024, 1, 1))), None),
            (pathlib.Path("x"), '"x"'),
            (b"x", '"eA=="'),
            (range(2), "[0,1]"),
            ("\\u0000", '"\\\\u0000"'),
        ],
        ids=told,
    )
    def test_anything_supported_becomes_json(self, value: Any, text: str | None) -> None:
        found = codec.encode(value)
        assert text is None or found == text
        codec.decode(found)

    @pytest.mark.parametrize(
        ("value", "why"),
        [
            (float("nan"), "JSON does not have"),
            ([float("inf")], r"the result \(at \[0\]\) is inf"),
            ("\0", "NUL"),
            ({"\ud800": 1}, "surrogate"),
            (2**63, "64 bits"),
            (object(), "no JSON form"),
            (Point(1, float("nan")), r"\(at .y\)"),
        ],
        ids=told,
    )
    def test_what_cannot_be_stored_is_refused(self, value: Any, why: str) -> None:
        with pytest.raises(PayloadError, match=why) as caught:
            codec.encode(value, what="the result")
        assert str(caught.value).startswith("the result")

    def test_the_limit(self) -> None:
        assert codec.encode("x" * 8, limit=10) == '"xxxxxxxx"'
        with pytest.raises(PayloadError, match="progress takes 11 bytes as JSON, the limit is 10"):
            codec.encode("x" * 9, limit=10, what="progress")


class TestDecode:
    def test_text_that_is_no_json(self) -> None:
        assert codec.decode_or_text("{broken") == "{broken"
        assert codec.decode_or_text("[1]") == [1]
        assert codec.decode_or_text(None) is None
        assert codec.decode_or_text("[" * 100_000) == "[" * 100_000
        with pytest.raises(PayloadError, match="not JSON"):
            codec.decode("{broken")


def test_pydantic_is_not_imported_for_its_own_sake() -> None:
    import subprocess
    import sys

    script = (
        "import sys; from qengine.codec import PayloadCodec\n"
        "def f(a: dict, b: int | None = None): ...\n"
        "c = PayloadCodec(f, skip_first=False); c.decode(c.encode((), {'a': {'x': 1}}))\n"
        "assert 'pydantic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
