"""Between Python values and the JSON text that the database holds.

`PayloadCodec` stores the arguments of one handler, and gives them back in the types of its annotations. What would not
come back as it went in is refused where it is enqueued, with the parameter's name: nothing is changed silently.
"""

from __future__ import annotations

import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from qengine.errors import ConfigurationError, PayloadError
from qengine.signatures import function_name, resolved, signature, type_name, unresolved
from qengine.values import INT_MAX, INT_MIN, SCALARS, from_json, is_clean, is_plain, is_same, shown, to_json, unstorable

_NUL = b"\\u0000"
_OVERSIZE = "store it elsewhere and pass a reference, or raise payload_limit"

_encoder = msgspec.json.Encoder(enc_hook=to_json)
_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def encode(value: Any, *, limit: int | None = None, what: str = "value") -> str:
    """The JSON text of `value`: plain values and containers, dataclasses, Structs, pydantic models, dates and times,
    UUID, Decimal, Enum, bytes (base64), paths.

    It is read back as plain JSON (`decode`): a tuple comes back as a list, a date as text. `limit` is in bytes; None:
    any size. Raises PayloadError, naming the value as `what`, for what cannot be stored: an object of another type, NaN
    or infinity, a NUL or half a surrogate pair in a text, an integer of more than 64 bits, a text longer than `limit`.
    """
    if value is None:
        return "null"
    problem = None if is_clean((value,)) else unstorable(value)
    if problem is None:
        try:
            raw = _encoder.encode(value)
        except Exception as error:  # an object's own serialisation may raise anything
            raise PayloadError(f"{what}{unstorable(value) or _unencodable(value, error)}") from error
        if _NUL in raw:  # or a backslash before it: then it is text and stands
            problem = unstorable(msgspec.json.decode(raw))
        if limit is not None and len(raw) > limit:
            problem = f" takes {len(raw):,} bytes as JSON, the limit is {limit:,}; {_OVERSIZE}"
    if problem is not None:
        raise PayloadError(f"{what}{problem}")
    return raw.decode()


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


class PayloadCodec:
    """Stores the arguments of one handler as a JSON object, and gives them back.

    `skip_first`: the handler's first parameter is its context, which is not an argument. Only arguments that are given
    are stored, never defaults: a job runs with the defaults of the code that runs it, so that a changed default
    applies to the jobs that wait. Raises ConfigurationError for a handler whose arguments cannot be stored by name
    (`*args`, positional-only parameters) or whose annotations cannot be resolved, or told apart in JSON.
    """

    def __init__(self, fn: Callable[..., Any], *, skip_first: bool) -> None:
        self._fn = fn
        parameters = list(signature(fn).parameters.values())[1 if skip_first else 0 :]
        self._hints = {p.name: Any if p.annotation is object else resolved(fn, p.name, p.annotation) for p in parameters}
        self._extra = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        named = [self._nameable(p) for p in parameters if p.kind is not p.VAR_KEYWORD]
        self._known = {p.name: self._hints[p.name] for p in named}
        self._positional = tuple(p.name for p in named if p.kind is p.POSITIONAL_OR_KEYWORD)
        self._required = frozenset(p.name for p in named if p.default is p.empty)
        self._quick = {name: kinds for name, hint in self._known.items() if (kinds := _quick_kinds(hint))}
        self._decoder = self._object_decoder()
        self._extra_decoder = None if self._extra is None else self._value_decoder(self._extra)
        self._returns = self._return_type()

    def _nameable(self, parameter: inspect.Parameter) -> inspect.Parameter:
        kind, name = parameter.kind, parameter.name
        if kind is parameter.VAR_POSITIONAL or kind is parameter.POSITIONAL_ONLY:
            what = f"*{name}" if kind is parameter.VAR_POSITIONAL else f"the positional-only {name!r}"
            raise ConfigurationError(
                f"{function_name(self._fn)}: arguments are stored by name, {what} cannot be; make it an ordinary parameter"
            )
        return parameter

    def _object_decoder(self) -> msgspec.json.Decoder[Any]:
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        for name, hint in self._known.items():
            self._value_decoder(name)  # says which parameter it is, where a type cannot be had
            if name in self._required:
                fields.append((name, hint))
            else:
                fields.append((name, typing.Union[hint, msgspec.UnsetType], msgspec.UNSET))  # noqa: UP007 - not all hints have `|`
        struct = msgspec.defstruct("Payload", fields, kw_only=True, forbid_unknown_fields=self._extra is None)
        return msgspec.json.Decoder(struct, dec_hook=from_json)

    def _value_decoder(self, name: str) -> msgspec.json.Decoder[Any]:
        try:
            return msgspec.json.Decoder(self._hint(name), dec_hook=from_json)
        except NameError as error:
            raise unresolved(self._fn, f"the type of {name!r}", error) from error
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{self._at(name)}: its type cannot be read back from JSON: {error}") from error

    def _return_type(self) -> Any:
        try:
            return resolved(self._fn, "return", signature(self._fn).return_annotation)
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
        raw = self._encoded(kwargs) if self._is_quick(kwargs) else self._checked(kwargs, plain)
        if _NUL in raw:  # or a backslash before it: then it is text and stands
            self._refuse_unstorable(msgspec.json.decode(raw))
        if limit is not None and len(raw) > limit:
            self._refuse_size(kwargs, len(raw), limit)
        return raw.decode()

    def _bound(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if len(args) > len(self._positional):
            most = f"{function_name(self._fn)} takes {len(self._positional)} arguments by position"
            raise PayloadError(f"{most}, {len(args)} were given; its parameters: {self._listed()}")
        bound = dict(zip(self._positional, args, strict=False))
        for name in bound:
            if name in kwargs:
                raise PayloadError(f"{self._at(name)} was given twice, by position and by name; give it once", parameter=name)
        return bound | dict(kwargs)

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

    def _checked(self, kwargs: Mapping[str, Any], plain: bool) -> bytes:
        """Encode, decode, and compare: what the handler will get is what was given."""
        for name in kwargs:
            if not isinstance(name, str) or (name not in self._known and self._extra is None):
                self._refuse_unknown(name)
        if not is_clean(kwargs.values()):
            self._refuse_unstorable(kwargs)
        raw = self._encoded(kwargs)
        try:
            back = self._read(raw)
        except Exception as error:  # a type's own constructor may raise anything
            self._refuse_type(*_culprit(kwargs, error, lambda n, v: self._value_decoder(n).decode(_encoder.encode(v))))
        for name, value in kwargs.items():
            if not is_same(value, back[name], _is_abstract(self._hint(name))) and not (plain and is_plain(value)):
                self._refuse_type(name, value, None)
        return raw

    def _encoded(self, kwargs: Mapping[str, Any]) -> bytes:
        try:
            return _encoder.encode(kwargs)
        except Exception as error:  # an object's own serialisation may raise anything
            self._refuse_unstorable(kwargs)
            name, value, reason = _culprit(kwargs, error, lambda name, value: _encoder.encode(value))
            raise PayloadError(f"{self._at(name)}{_unencodable(value, reason)}", parameter=name) from reason

    # -- why not

    def _refuse_missing(self, kwargs: Mapping[str, Any]) -> None:
        name = next(n for n in self._known if n in self._required and n not in kwargs)
        for given in kwargs:
            if given not in self._known and self._extra is None:
                self._refuse_unknown(given, f", and {name!r} is missing")
        raise PayloadError(f"{self._at(name)} is missing, and has no default", parameter=name)

    def _refuse_unknown(self, name: Any, more: str = "") -> None:
        if not isinstance(name, str):
            raise PayloadError(f"{function_name(self._fn)}: the name of an argument is a text, not {shown(name)}")
        raise PayloadError(
            f"{function_name(self._fn)} has no parameter {name!r}{more}; its parameters: {self._listed()}", parameter=name
        )

    def _refuse_unstorable(self, kwargs: Mapping[str, Any]) -> None:
        for name, value in kwargs.items():
            problem = unstorable(name) or unstorable(value)
            if problem is not None:
                raise PayloadError(f"{self._at(name)}{problem}", parameter=name)

    def _refuse_type(self, name: str, value: Any, error: Exception | None) -> typing.NoReturn:
        hint = self._hint(name)
        if hint is Any:
            problem = f"has no type, and JSON would turn {shown(value)} into something else"
            remedy = "annotate the parameter with its type, or pass plain values"
        else:
            problem = f"takes {type_name(hint)}, not {shown(value)}"
            if error is None and isinstance(hint, type) and isinstance(value, hint):
                problem = f"takes {type_name(hint)}, and {shown(value)} would not come back from JSON as it is"
            elif error is not None:
                problem += f": {_reason(error)}"
            remedy = "pass what the annotation says"
        raise PayloadError(f"{self._at(name)} {problem}; {remedy}", parameter=name) from error

    def _refuse_size(self, kwargs: Mapping[str, Any], size: int, limit: int) -> None:
        sizes = {name: len(_encoder.encode(value)) for name, value in kwargs.items()}
        name = max(sizes, key=sizes.__getitem__)
        takes = f"takes {sizes[name]:,} of the payload's {size:,} bytes as JSON, the limit is {limit:,}"
        raise PayloadError(f"{self._at(name)} {takes}; {_OVERSIZE}", parameter=name)

    def _at(self, name: str) -> str:
        return f"{function_name(self._fn)}: parameter {name!r}"

    def _listed(self) -> str:
        return ", ".join([*self._known, *([f"**{self._extra}"] if self._extra else [])]) or "none"

    def _hint(self, name: str) -> Any:
        return self._known[name] if name in self._known or self._extra is None else self._hints[self._extra]

    # -- out

    def decode(self, text: str) -> dict[str, Any]:
        """The keyword arguments of a stored payload, in the handler's types.

        Raises PayloadError when it does not fit the handler: stored by another release of it, or edited by hand.
        """
        if text == "{}" and not self._required:
            return {}
        try:
            return self._read(text)
        except Exception as error:  # a type's own constructor may raise anything
            raise self._misfit(error) from error

    def _read(self, text: str | bytes) -> dict[str, Any]:
        found = msgspec.structs.asdict(self._decoder.decode(text))
        if len(self._required) < len(found):
            found = {name: value for name, value in found.items() if value is not msgspec.UNSET}
        if self._extra_decoder is not None:
            for name, raw in _raw_fields.decode(text).items():
                if name not in self._known:
                    found[name] = self._extra_decoder.decode(raw)
        return found

    def _misfit(self, error: Exception) -> PayloadError:
        text = str(error)
        inside = re.search(r" - at .*`\$\.([^`.\[]+)[^`]*`$", text)
        found = inside or re.match(r"Object (?:missing required|contains unknown) field `([^`]+)`", text)
        name = found[1] if found else None
        where = self._at(name) if name else function_name(self._fn)
        return PayloadError(f"{where}: the stored payload does not fit: {_reason(error)}", parameter=name)

    def result(self, plain: Any) -> Any:
        """A stored result in the handler's return type where it fits, else as the plain value that it is."""
        if plain is None or self._returns is Any:
            return plain
        try:
            return msgspec.convert(plain, self._returns, str_keys=True, dec_hook=from_json)
        except Exception:  # a type's own constructor may raise anything; the plain value is the answer
            return plain


def _quick_kinds(hint: Any) -> frozenset[type]:
    """The scalar types that an annotation takes exactly; none when it takes anything that needs a closer look."""
    if hint is Any:
        return frozenset(SCALARS)
    members = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return frozenset(member for member in members if member in SCALARS)


_ABSTRACT = frozenset(("Collection", "Iterable", "Mapping", "MutableMapping", "MutableSequence", "MutableSet", "Sequence", "Set"))


def _is_abstract(hint: Any) -> bool:
    """Whether an annotation names an abstract collection, which several types of value fit equally."""
    origin = typing.get_origin(hint) or hint
    if getattr(origin, "__module__", "") == "collections.abc" and getattr(origin, "__name__", "") in _ABSTRACT:
        return True
    return any(_is_abstract(arg) for arg in typing.get_args(hint))


def _culprit(kwargs: Mapping[str, Any], error: Exception, attempt: Callable[[str, Any], object]) -> tuple[str, Any, Exception]:
    """The argument for which `attempt` fails, and why; the first, and `error`, when it fails for all but not for each."""
    for name, value in kwargs.items():
        try:
            attempt(name, value)
        except Exception as reason:
            return name, value, reason
    name, value = next(iter(kwargs.items()))
    return name, value, error


def _unencodable(value: Any, error: Exception) -> str:
    """Why `value` has no JSON form, said so that a name can stand before it."""
    return f": {shown(value)} has no JSON form ({_reason(error)}); pass plain values, a dataclass, a Struct or a pydantic model"


def _reason(error: Exception) -> str:
    """What an error says, in one bounded line, without msgspec's path."""
    text = " ".join(str(error).split(" - at `", 1)[0].split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"
