"""What the signature of a function says, with its annotations resolved to types."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from qengine.errors import ConfigurationError

_REMEDY = "import it outside `if TYPE_CHECKING`, and define it at module level"


def signature(fn: Callable[..., Any]) -> inspect.Signature:
    """The signature of `fn`. Raises ConfigurationError when it has none, or its annotations cannot be evaluated."""
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{function_name(fn)} has no signature that can be read; wrap it in a def") from error
    except NameError as error:
        raise unresolved(fn, "an annotation", error) from error


def parameter_types(fn: Callable[..., Any]) -> dict[str, Any]:
    """The type of each parameter of `fn`; Any for one without annotation. Raises ConfigurationError as `resolved`."""
    return {name: resolved(fn, name, p.annotation) for name, p in signature(fn).parameters.items()}


def resolved(fn: Callable[..., Any], name: str, annotation: Any) -> Any:
    """The annotation of parameter `name` as a type; Any when it is empty.

    Raises ConfigurationError when it names something that is not there at run time, or is no annotation.
    """
    if annotation is inspect.Parameter.empty:
        return Any
    holder = types.SimpleNamespace(__annotations__={name: annotation})
    try:
        return typing.get_type_hints(holder, globalns=_scope(fn), localns={}, include_extras=True)[name]
    except NameError as error:
        raise unresolved(fn, f"the annotation of {name!r}", error) from error
    except Exception as error:  # an annotation is an expression and may raise anything
        raise ConfigurationError(f"{function_name(fn)}: the annotation of {name!r} cannot be read: {error}") from error


def unresolved(fn: Callable[..., Any], what: str, error: NameError) -> ConfigurationError:
    """The error that says that `what` of `fn` names something that is not there."""
    return ConfigurationError(f"{function_name(fn)}: {what} names {error.name!r}, which is not there at run time; {_REMEDY}")


def function_name(fn: Any) -> str:
    """The name by which messages speak of `fn`."""
    name = getattr(fn, "__qualname__", None)
    return name.rsplit("<locals>.", 1)[-1] if isinstance(name, str) else repr(fn)


def type_name(kind: Any) -> str:
    """The name by which messages speak of a type or annotation."""
    if kind is type(None):
        return "None"
    if isinstance(kind, type) and typing.get_origin(kind) is None:
        return kind.__qualname__.rsplit("<locals>.", 1)[-1]
    return str(kind).replace("typing.", "")


def _scope(fn: Any) -> dict[str, Any]:
    """The global names that the annotations of `fn` can use: those of the function within wrappers and partials."""
    inner = inspect.unwrap(fn)
    while hasattr(inner, "func"):
        inner = inspect.unwrap(inner.func)
    if not hasattr(inner, "__globals__"):
        inner = getattr(inner, "__func__", None) or getattr(type(inner), "__call__", None)  # noqa: B004 - it is read, not tested
    scope: dict[str, Any] = getattr(inner, "__globals__", {})
    return scope
