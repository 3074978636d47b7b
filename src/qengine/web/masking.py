"""Secrets in what jobs carry: hidden where they are shown, and put back where what was shown is edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

MASKED = "••••••"
"""What stands in the place of a secret."""

Mask = Callable[[Any, str], Any]
"""A hook `mask(value, type)`: what may be shown of a payload, a result, a checkpoint or headers (plain JSON values) of a
job of this type. It gives a new value and leaves the old one as it is."""

SECRET_WORDS = (
    "password",
    "passwd",
    "passphrase",
    "token",
    "secret",
    "authorization",
    "apikey",
    "privatekey",
    "accesskey",
    "credential",
    "cookie",
)
"""A value is a secret when its key, in small letters and without `_`, `-` and spaces, contains one of these."""


def mask_secrets(value: Any, type: str) -> Any:
    """The value with MASKED in the place of everything whose key sounds like a secret, at any depth."""
    if isinstance(value, Mapping):
        return {key: MASKED if _secret(key) and item is not None else mask_secrets(item, type) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [mask_secrets(item, type) for item in value]
    return value


def _secret(key: object) -> bool:
    name = str(key).lower().replace("_", "").replace("-", "").replace(" ", "")
    return any(word in name for word in SECRET_WORDS)


def unmask(edited: Any, shown: Any, original: Any) -> Any:
    """What was edited, with the original in the place of all that stands as it was shown.

    `shown` is `original` as a mask gave it. What was moved to another place is not found again: `still_masked` tells.
    """
    if edited == shown and type(edited) is type(shown):
        return original
    if isinstance(edited, Mapping) and isinstance(shown, Mapping) and isinstance(original, Mapping):
        return {
            key: unmask(item, shown[key], original[key]) if key in shown and key in original else item
            for key, item in edited.items()
        }
    if isinstance(edited, list) and isinstance(shown, list) and isinstance(original, list):
        kept = list(zip(edited, shown, original, strict=False))
        return [unmask(*item) for item in kept] + edited[len(kept) :]
    return edited


def still_masked(value: Any) -> bool:
    """Whether MASKED stands anywhere in the value."""
    if isinstance(value, Mapping):
        return any(still_masked(item) for item in value.values())
    if isinstance(value, list):
        return any(still_masked(item) for item in value)
    return isinstance(value, str) and MASKED in value
