"""What the URL and the options say: ours are taken out and checked, the driver's are left in the URL."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from qengine.errors import ConfigurationError

_DRIVER = {"host", "port", "dbname", "database", "user", "password", "passfile", "service", "application_name"}
_DRIVER |= {"sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation", "target_session_attrs"}
_DRIVER |= {"ssl_min_protocol_version", "ssl_max_protocol_version", "krbsrvname", "gsslib"}
_OWN = ("schema", "pool_size", "listen", "durability", "connect_timeout", "command_timeout")
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,47}")
_WORDS = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of this backend. None of them holds a password."""

    schema: str = "public"
    """Where the tables are; made by `migrate` when it does not exist."""
    pool_size: int = 5
    """How many connections work at once. Handlers in `ctx.transaction()` use up to as many more."""
    listen: bool = True
    """False: nothing that needs a session (LISTEN, prepared statements), for PgBouncer in transaction mode."""
    durability: str = "full"
    """"relaxed": a crash of the server may undo the last fraction of a second (synchronous_commit=off)."""
    connect_timeout: float = 10.0
    """Seconds within which a connection must stand."""
    command_timeout: float = 60.0
    """Seconds within which a statement must be answered."""


def read_options(url: str, given: Mapping[str, Any]) -> tuple[str, Options]:
    """The URL for the driver, and the options; `given` wins over the URL's query.

    Raises ConfigurationError naming what is wrong, without showing the URL: it may hold a password.
    """
    parts = urlsplit(url)
    _check_address(parts.netloc)
    query: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True)) | dict(given)
    unknown = sorted(set(query) - _DRIVER - set(_OWN))
    if unknown:
        raise ConfigurationError(
            f"unknown option {', '.join(map(repr, unknown))} of the PostgreSQL backend; there are {', '.join(_OWN)}, "
            f"and the driver's {', '.join(sorted(_DRIVER))}"
        )
    default = Options()
    options = Options(
        schema=_schema(query.get("schema", default.schema)),
        pool_size=_whole("pool_size", query.get("pool_size", default.pool_size)),
        listen=_flag("listen", query.get("listen", default.listen)),
        durability=_durability(query.get("durability", default.durability)),
        connect_timeout=_seconds("connect_timeout", query.get("connect_timeout", default.connect_timeout)),
        command_timeout=_seconds("command_timeout", query.get("command_timeout", default.command_timeout)),
    )
    if options.durability == "relaxed" and not options.listen:
        raise ConfigurationError(
            "durability=relaxed needs a session, which listen=False gives up; set it for the role instead: "
            "ALTER ROLE … SET synchronous_commit = off"
        )
    rest = {"application_name": "qengine"} | {name: str(value) for name, value in query.items() if name not in _OWN}
    return urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(rest), "")), options


def _check_address(netloc: str) -> None:
    # The driver's own messages on these would show part of the password.
    escape = "write the special characters of a password percent-encoded (@ as %40, / as %2F, # as %23)"
    if netloc.count("@") > 1:
        raise ConfigurationError(f"the PostgreSQL URL has more than one @; {escape}")
    for host in netloc.rpartition("@")[2].split(","):
        port = host.rpartition("]")[2].partition(":")[2]
        if port and not port.isdecimal():
            raise ConfigurationError(f"the port in the PostgreSQL URL is not a number; {escape}")


def _schema(value: Any) -> str:
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        raise ConfigurationError(f"schema={value!r}: give a name of a-z, 0-9 and _, at most 48 long, that begins with no digit")
    return value


def _durability(value: Any) -> str:
    if value not in ("full", "relaxed"):
        raise ConfigurationError(f"durability={value!r}: give 'full' or 'relaxed'")
    return str(value)


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    try:
        return _WORDS[str(value).lower()]
    except KeyError:
        raise ConfigurationError(f"{name}={value!r}: give true or false") from None


def _whole(name: str, value: Any) -> int:
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigurationError(f"{name}={value!r}: give a whole number, 1 or more")
    return number


def _seconds(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise ConfigurationError(f"{name}={value!r}: give a number of seconds above 0")
    return number
