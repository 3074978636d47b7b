"""Between Python values and the JSON text that the database holds.

`PayloadCodec` stores the arguments of one handler, and gives them back in the types of its annotations. What would not
come back as it went in is refused where it is enqueued, with the parameter's name: nothing is changed silently.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import math
import pathlib
import sys
import types
import typing
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from qengine.errors import ConfigurationError, PayloadError

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
"""The integers that both databases, and other languages' JSON readers of 64 bits, can hold."""

_NUL = b"\\u0000"


def _pydantic_model() -> type | None:
    """pydantic's BaseModel, if the application uses pydantic; it is never imported for its own sake."""
    module = sys.modules.get("pydantic")
    return getattr(module, "BaseModel", None)


def _enc_hook(value: Any) -> Any:
    """Give msgspec something that it knows for a value that it does not."""
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, deque):
        return list(value)
    model = _pydantic_model()
    if model is not None and isinstance(value, model):
        return msgspec.Raw(typing.cast("Any", value).model_dump_json(by_alias=True, round_trip=True).encode())
    raise NotImplementedError(f"{_type_name(type(value))} is not a type that JSON or qengine knows")


def _dec_hook(kind: Any, value: Any) -> Any:
    """Make a value of a type that msgspec does not know."""
    origin = typing.get_origin(kind) or kind
    if isinstance(origin, type):
        if issubclass(origin, pathlib.PurePath):
            return origin(_expect(value, str))
        if issubclass(origin, deque):
            (item,) = typing.get_args(kind) or (Any,)
            return origin(msgspec.convert(value, list[item], str_keys=True, builtin_types=(), dec_hook=_dec_hook))  # type: ignore[valid-type]
        if issubclass(origin, (str, int, float)):
            base = next(b for b in (str, int, float) if issubclass(origin, b))
            return origin(_expect(value, base))
        model = _pydantic_model()
        if model is not None and issubclass(origin, model):
            return typing.cast("Any", origin).model_validate_json(msgspec.json.encode(value))
    raise TypeError(f"{_type_name(kind)} cannot be read from JSON")


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"Expected `{kind.__name__}`, got `{type(value).__name__}`")
    return value


_encoder = msgspec.json.Encoder(enc_hook=_enc_hook)


def encode(value: Any, *, limit: int | None = None, what: str = "value") -> str:
    """The JSON text of `value`: plain values and containers, dataclasses, Structs, pydantic models, dates and times,
    UUID, Decimal, Enum, bytes (base64), paths.

    It is read back as plain JSON (`decode`): a tuple comes back as a list, a date as text. `limit` is in bytes; None:
    any size. Raises PayloadError, naming the value as `what`, for what cannot be stored: an object of another type, NaN
    or infinity, a NUL or half a surrogate pair in a text, an integer of more than 64 bits, a text longer than `limit`.
    """
    if value is None:
        return "null"
    raw = _encoded(value, what, None)
    if (problem := _unstorable(value)) is not None:
        raise PayloadError(f"{what}{problem}")
    if limit is not None and len(raw) > limit:
        raise PayloadError(f"{what} takes {len(raw):,} bytes as JSON, the limit is {limit:,}; {_OVERSIZE}")
    return raw.decode()


_OVERSIZE = "store it elsewhere and pass a reference, or raise payload_limit"


def decode(text: str) -> Any:
    """The plain JSON value of `text`. Raises PayloadError when it is no JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise PayloadError(f"not JSON: {error}") from error


def decode_or_text(text: str | None) -> Any:
    """The plain JSON value of `text`; the text itself where it is no JSON; None for None."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return text


def parameter_types(fn: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of `fn`'s parameters, resolved to types; a parameter without one is Any.

    Raises ConfigurationError when one names something that is not there at run time.
    """
    return {name: _resolved(fn, name, p.annotation) for name, p in signature(fn).parameters.items()}


def signature(fn: Callable[..., Any]) -> inspect.Signature:
    """The signature of `fn`. Raises ConfigurationError when it has none, or cannot be evaluated."""
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{_function_name(fn)} has no signature that can be read; wrap it in a def") from error
    except NameError as error:
        raise ConfigurationError(
            f"{_function_name(fn)}: an annotation names {error.name!r}, which is not there at run time; {_IMPORT_IT}"
        ) from error


_IMPORT_IT = "import it outside `if TYPE_CHECKING`, and define it at module level"


def _resolved(fn: Callable[..., Any], name: str, annotation: Any) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    inner: Any = inspect.unwrap(fn)
    inner = getattr(inner, "func", inner)
    scope = getattr(inner, "__globals__", None)
    if scope is None:  # an object with a __call__ of its own
        scope = getattr(type(inner).__dict__.get("__call__"), "__globals__", {})
    holder = types.SimpleNamespace(__annotations__={name: annotation})
    try:
        return typing.get_type_hints(holder, globalns=scope, localns={}, include_extras=True)[name]
    except NameError as error:
        raise ConfigurationError(
            f"{_function_name(fn)}: the annotation of {name!r} names {error.name!r}, which is not there at run time; {_IMPORT_IT}"
        ) from error
    except Exception as error:
        raise ConfigurationError(f"{_function_name(fn)}: the annotation of {name!r} cannot be read: {error}") from error


class PayloadCodec:
    """Stores the arguments of one handler as a JSON object, and gives them back.

    `skip_first`: the handler's first parameter is its context, which is not an argument. Only arguments that are given
    are stored, never defaults: a job runs with the defaults of the code that runs it, so that a changed default
    applies to the jobs that wait. Raises ConfigurationError for a handler whose arguments cannot be stored by name
    (`*args`, positional-only parameters) or whose annotations cannot be resolved, or told apart in JSON.
    """

    __slots__ = (
        "_decoder",
        "_extra",
        "_extra_decoder",
        "_fn",
        "_known",
        "_loose",
        "_names",
        "_optional",
        "_quick",
        "_required",
        "_returns",
    )

    def __init__(self, fn: Callable[..., Any], *, skip_first: bool) -> None:
        self._fn = fn
        parameters = list(signature(fn).parameters.values())[1 if skip_first else 0 :]
        hints = {p.name: _resolved(fn, p.name, p.annotation) for p in parameters}
        self._extra: str | None = None
        named = []
        for p in parameters:
            if p.kind is p.VAR_KEYWORD:
                self._extra = p.name
            elif p.kind in (p.VAR_POSITIONAL, p.POSITIONAL_ONLY):
                shown = f"*{p.name}" if p.kind is p.VAR_POSITIONAL else f"{p.name} (positional-only)"
                raise ConfigurationError(
                    f"{_function_name(fn)}: arguments are stored by name, {shown} cannot be; make it an ordinary parameter"
                )
            else:
                named.append(p)
        self._names = tuple(p.name for p in named if p.kind is p.POSITIONAL_OR_KEYWORD)
        self._known = frozenset(p.name for p in named)
        self._required = frozenset(p.name for p in named if p.default is p.empty)
        self._optional = len(self._required) < len(self._known)
        self._quick = {name: kinds for name, hint in hints.items() if name != self._extra and (kinds := _quick_kinds(hint))}
        self._loose = frozenset(name for name, hint in hints.items() if _is_abstract(hint))
        self._decoder = self._object_decoder({p.name: hints[p.name] for p in named})
        self._extra_decoder = None if self._extra is None else self._value_decoder(self._extra, hints[self._extra])
        self._returns = self._return_type()

    def _object_decoder(self, hints: dict[str, Any]) -> msgspec.json.Decoder[Any]:
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        for name, hint in hints.items():
            self._value_decoder(name, hint)
            if name in self._required:
                fields.append((name, hint))
            else:
                fields.append((name, typing.Union[hint, msgspec.UnsetType], msgspec.UNSET))  # noqa: UP007 - hint may be a string
        struct = msgspec.defstruct("Payload", fields, kw_only=True, forbid_unknown_fields=self._extra is None)
        return msgspec.json.Decoder(struct, dec_hook=_dec_hook)

    def _value_decoder(self, name: str, hint: Any) -> msgspec.json.Decoder[Any]:
        try:
            return msgspec.json.Decoder(hint, dec_hook=_dec_hook)
        except NameError as error:
            missing = f"the type of {name!r} names {error.name!r}, which is not there at run time"
            raise ConfigurationError(f"{_function_name(self._fn)}: {missing}; {_IMPORT_IT}") from error
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"{_function_name(self._fn)}: the type of {name!r} cannot be told apart in JSON: {error}"
            ) from error

    def _return_type(self) -> Any:
        try:
            return _resolved(self._fn, "return", signature(self._fn).return_annotation)
        except ConfigurationError:
            return Any  # a result is still stored; it is only not converted when it is read

    # -- in

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any], limit: int | None = None, *, plain: bool = False) -> str:
        """The JSON text of a call's arguments. `limit` is in bytes; None: any size.

        Raises PayloadError, with the parameter's name, for an argument that is missing, unknown, given twice, of
        another type than its annotation says, or that could not be stored and come back as it is. With `plain`, an
        argument may also be the JSON form of what its annotation says (the text of a date, an object for a dataclass),
        as it comes from a command line or another service.
        """
        if args:
            kwargs = self._bound(args, kwargs)
        if not kwargs.keys() >= self._required:
            self._refuse_missing(kwargs)
        if not kwargs:
            return "{}"
        raw = _encoded(kwargs, None, self) if self._is_quick(kwargs) else self._checked(kwargs, plain)
        if _NUL in raw:
            self._refuse_unstorable(kwargs)
        if limit is not None and len(raw) > limit:
            self._refuse_size(kwargs, len(raw), limit)
        return raw.decode()

    def _is_quick(self, kwargs: Mapping[str, Any]) -> bool:
        """Whether all are scalars of exactly the types annotated, which JSON is known to keep."""
        quick = self._quick
        for name, value in kwargs.items():
            kind = type(value)
            if kind not in quick.get(name, ()):
                return False
            if kind is int:
                if not INT_MIN <= value <= INT_MAX:
                    return False
            elif kind is float and not math.isfinite(value):
                return False
        return True

    def _bound(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if len(args) > len(self._names):
            most = f"{_function_name(self._fn)} takes {len(self._names)} arguments by position"
            raise PayloadError(f"{most}, {len(args)} were given; its parameters: {self._listed()}")
        bound = dict(zip(self._names, args, strict=False))
        for name in bound:
            if name in kwargs:
                raise PayloadError(f"{self._at(name)} was given twice, by position and by name; give it once", parameter=name)
        return bound | dict(kwargs)

    def _checked(self, kwargs: Mapping[str, Any], plain: bool) -> bytes:
        """Encode, decode, and compare: what the handler will get is what was given."""
        for name in kwargs:
            if not isinstance(name, str):
                raise PayloadError(f"{_function_name(self._fn)}: an argument's name is text, not {_shown(name)}")
            if name not in self._known and self._extra is None:
                raise PayloadError(
                    f"{_function_name(self._fn)} has no parameter {name!r}; it takes {self._listed()}", parameter=name
                )
        self._refuse_unstorable(kwargs)
        raw = _encoded(kwargs, None, self)
        try:
            back = self._read(raw)
        except PayloadError as error:
            self._refuse_type(kwargs, error)
        for name, value in kwargs.items():
            loose = (name if name in self._known else self._extra) in self._loose
            if not _same(value, back[name], loose) and not (plain and _is_plain(value)):
                self._refuse_type({name: value}, None)
        return raw

    def _at(self, name: str) -> str:
        return f"{_function_name(self._fn)}: parameter {name!r}"

    def _listed(self) -> str:
        names = [n for n in signature(self._fn).parameters if n in self._known] + ([f"**{self._extra}"] if self._extra else [])
        return ", ".join(names) or "none"

    def _hint(self, name: str) -> Any:
        return parameter_types(self._fn)[name if name in self._known else typing.cast("str", self._extra)]

    def _refuse_missing(self, kwargs: Mapping[str, Any]) -> typing.NoReturn:
        name = next(n for n in signature(self._fn).parameters if n in self._required and n not in kwargs)
        unknown = next((n for n in kwargs if n not in self._known), None) if self._extra is None else None
        if unknown is not None:
            raise PayloadError(
                f"{_function_name(self._fn)} has no parameter {unknown!r}, and {name!r} is missing; it takes {self._listed()}",
                parameter=str(unknown),
            )
        raise PayloadError(f"{self._at(name)} is missing; it has no default", parameter=name)

    def _refuse_unstorable(self, kwargs: Mapping[str, Any]) -> None:
        for name, value in kwargs.items():
            problem = _unstorable(name) or _unstorable(value)
            if problem is not None:
                raise PayloadError(f"{self._at(name)}{problem}", parameter=name)

    def _refuse_type(self, kwargs: Mapping[str, Any], error: PayloadError | None) -> typing.NoReturn:
        name, value = next(iter(kwargs.items()))
        for name, value in kwargs.items():
            if error is None:
                break
            try:
                self._value_decoder(name, self._hint(name)).decode(_encoded(value, None, self))
            except Exception as reason:
                error = PayloadError(_without_path(str(reason)))
                break
        hint = self._hint(name)
        what = "takes" if hint is not Any else "has no type, and takes"
        wanted = _type_name(hint) if hint is not Any else "what JSON has"
        remedy = "pass that type" if hint is not Any else "annotate the parameter with its type, or pass plain values"
        detail = f" ({error})" if error is not None else ""
        raise PayloadError(
            f"{self._at(name)} {what} {wanted}, and {_shown(value)} would not come back as it is{detail}; {remedy}",
            parameter=name,
        )

    def _refuse_size(self, kwargs: Mapping[str, Any], size: int, limit: int) -> typing.NoReturn:
        sizes = {name: len(_encoded(value, None, self)) for name, value in kwargs.items()}
        name = max(sizes, key=sizes.__getitem__)
        raise PayloadError(
            f"{self._at(name)} takes {sizes[name]:,} of {size:,} bytes as JSON, the limit is {limit:,}; {_OVERSIZE}",
            parameter=name,
        )

    # -- out

    def decode(self, text: str) -> dict[str, Any]:
        """The keyword arguments of a stored payload, in the handler's types.

        Raises PayloadError when it does not fit the handler: stored by another release of it, or edited by hand.
        """
        if text == "{}" and not self._required:
            return {}
        return self._read(text)

    def _read(self, text: str | bytes) -> dict[str, Any]:
        try:
            if self._extra_decoder is not None:
                return self._read_extra(text)
            found = msgspec.structs.asdict(self._decoder.decode(text))
        except Exception as error:  # a type's own constructor may raise anything
            raise self._misfit(error) from error
        if self._optional:
            return {name: value for name, value in found.items() if value is not msgspec.UNSET}
        return found

    def _read_extra(self, text: str | bytes) -> dict[str, Any]:
        assert self._extra_decoder is not None
        found = {n: v for n, v in msgspec.structs.asdict(self._decoder.decode(text)).items() if v is not msgspec.UNSET}
        for name, raw in _raw_fields.decode(text).items():
            if name not in self._known:
                found[name] = self._extra_decoder.decode(raw)
        return found

    def _misfit(self, error: Exception) -> PayloadError:
        text = str(error) or type(error).__name__
        mark = text.rfind("`$.")
        name = text[mark + 3 :].split("`")[0].split(".")[0].split("[")[0] if mark >= 0 else None
        if name is None and text.startswith(("Object missing required field", "Object contains unknown field")):
            name = text.split("`")[1]
        where = f"{self._at(name)}: " if name else f"{_function_name(self._fn)}: "
        return PayloadError(f"{where}the stored payload does not fit: {_without_path(text)}", parameter=name)

    def result(self, plain: Any) -> Any:
        """A stored result in the handler's return type where it fits, else as the plain value that it is."""
        if plain is None or self._returns is Any or self._returns is None:
            return plain
        try:
            return msgspec.convert(plain, self._returns, str_keys=True, builtin_types=(), dec_hook=_dec_hook)
        except Exception:  # a type's own constructor may raise anything; the plain value is the answer
            return plain


_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])

_SCALARS = (str, int, float, bool, type(None))


def _quick_kinds(hint: Any) -> frozenset[type]:
    """The scalar types that this annotation takes exactly; none when it takes anything that needs a closer look."""
    if hint is Any:
        return frozenset(_SCALARS)
    if hint is None:
        return frozenset((type(None),))
    members = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return frozenset(m for m in members if m in _SCALARS)


_ABSTRACT = frozenset(
    getattr(typing.get_origin(kind) or kind, "__name__", "")
    for kind in (
        typing.Sequence,
        typing.MutableSequence,
        typing.Collection,
        typing.Iterable,
        typing.AbstractSet,
        typing.MutableSet,
        typing.Mapping,
    )
)


def _is_abstract(hint: Any) -> bool:
    """Whether an annotation names an abstract collection, which several types of value fit equally."""
    origin = typing.get_origin(hint) or hint
    if getattr(origin, "__module__", "") == "collections.abc" and getattr(origin, "__name__", "") in _ABSTRACT | {
        "MutableMapping"
    }:
        return True
    return any(_is_abstract(arg) for arg in typing.get_args(hint))


def _encoded(value: Any, what: str | None, codec: PayloadCodec | None) -> bytes:
    """`value` as JSON bytes; what fails is looked for, and named."""
    try:
        return _encoder.encode(value)
    except Exception as error:  # an object's own serialisation may raise anything
        if codec is not None and isinstance(value, Mapping):
            for name, item in value.items():
                try:
                    _encoder.encode(item)
                except Exception as reason:
                    raise _unencodable(f"{codec._at(name)}", item, reason, name) from reason
        raise _unencodable(what or "value", value, error, None) from error


def _unencodable(what: str, value: Any, error: Exception, name: str | None) -> PayloadError:
    problem = _unstorable(value)
    if problem is None:
        problem = (
            f", {_shown(value)}, cannot be stored as JSON: {error}; pass plain values, a dataclass, a Struct or a pydantic model"
        )
    return PayloadError(f"{what}{problem}", parameter=name)


def _fields(value: Any) -> Iterator[tuple[str, Any]] | None:
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


def _unstorable(value: Any) -> str | None:
    """What in `value` no database would give back as it is, said so that a name can stand before it; None: nothing."""
    try:
        return _search(value, "", set())
    except RecursionError:
        return " is nested too deeply; pass something flatter"


def _search(value: Any, path: str, above: set[int]) -> str | None:
    where = f" (at {path})" if path else ""
    if isinstance(value, str):
        if "\0" in value:
            return f"{where} has a NUL character, which databases refuse; remove it, or pass bytes"
        if not value.isascii() and not _is_unicode(value):
            return f"{where} has half a surrogate pair, which is no Unicode text; decode it with errors='replace', or pass bytes"
        return None
    if isinstance(value, int):
        return None if INT_MIN <= value <= INT_MAX else f"{where} is an integer of more than 64 bits; pass it as a str"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{where} is {float(value)!r}, which JSON does not have; pass None or a number"
    if isinstance(value, decimal.Decimal):
        return None if value.is_finite() else f"{where} is {value}, which is no number; pass None or a number"
    if value is None or isinstance(value, (bytes, bytearray, uuid.UUID, dt.date, dt.time, dt.timedelta, enum.Enum)):
        return None
    if isinstance(value, pathlib.PurePath):
        return _search(str(value), path, above)
    if id(value) in above:
        return f"{where} contains itself; pass something flatter"
    return _search_inside(value, path, above | {id(value)})


def _search_inside(value: Any, path: str, above: set[int]) -> str | None:
    if isinstance(value, Mapping):
        inside: Any = ((f"[{key!r}]", item) for key, item in value.items())
        for key in value:
            if (problem := _search(key, f"{path}[{key!r}]", above)) is not None:
                return problem
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        inside = ((f"[{i}]", item) for i, item in enumerate(value))
    else:
        fields = _fields(value)
        inside = () if fields is None else ((f".{name}", item) for name, item in fields)
    for step, item in inside:
        if (problem := _search(item, path + step, above)) is not None:
            return problem
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_plain(value: Any) -> bool:
    """Whether `value` is what a JSON text decodes to."""
    if type(value) is dict:
        return all(type(key) is str and _is_plain(item) for key, item in value.items())
    if type(value) is list:
        return all(_is_plain(item) for item in value)
    return type(value) in _SCALARS


def _same(given: Any, back: Any, loose: bool) -> bool:
    """Whether `back` is as good as `given`: equal, and of its type, or of the type that it is a subclass of.

    An int is as good as a float that equals it. With `loose`, any sequence is as good as another, and any set.
    """
    kind = type(back)
    if kind is float and type(given) is int:
        return bool(given == back)
    if not isinstance(given, kind):
        if not loose:
            return False
        if kind is list and isinstance(given, Sequence):
            given = list(given)
        elif kind is set and isinstance(given, (set, frozenset)):
            given = set(given)
        elif kind is dict and isinstance(given, Mapping):
            given = dict(given)
        else:
            return False
    if kind is bool or kind is type(None):
        return given is back
    if isinstance(given, bool):
        return False
    if kind in (list, tuple, deque):
        return len(given) == len(back) and all(_same(a, b, loose) for a, b in zip(given, back, strict=True))
    if kind is dict:
        return len(given) == len(back) and all(k in back and _same(v, back[k], loose) for k, v in given.items())
    if kind is dt.datetime and given.tzinfo is not None:
        return back.tzinfo is not None and given.astimezone(dt.UTC) == back.astimezone(dt.UTC)
    fields = _fields(back)
    if fields is not None:
        theirs = dict(_fields(given) or ())
        mine = dict(fields)
        return type(given) is kind and theirs.keys() == mine.keys() and all(_same(v, mine[k], loose) for k, v in theirs.items())
    return bool(given == back)


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # a broken __repr__ must not hide the real error
        text = object.__repr__(value)
    if len(text) > 60:
        text = text[:57] + "..."
    return f"{text} ({_type_name(type(value))})"


def _type_name(kind: Any) -> str:
    if kind is type(None):
        return "None"
    if isinstance(kind, type) and typing.get_origin(kind) is None:
        return kind.__qualname__.rsplit("<locals>.", 1)[-1]
    return str(kind).replace("typing.", "")


def _function_name(fn: Any) -> str:
    name = getattr(fn, "__qualname__", None)
    return name.rsplit("<locals>.", 1)[-1] if isinstance(name, str) else repr(fn)


def _without_path(text: str) -> str:
    return text.split(" - at `", 1)[0]
