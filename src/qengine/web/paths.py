"""Where a dashboard is: the paths of its pages, whatever it is mounted under."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.types import Scope


def inner_path(scope: Scope) -> str:
    """The path of a request below the place at which the dashboard is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and (path == root or path.startswith(f"{root}/")):
        return path[len(root) :]
    return path


def cookie_path(scope: Scope) -> str:
    """The path of the whole dashboard, quoted."""
    root: str = scope.get("root_path", "")
    return quote(f"/{root.strip('/')}/") if root.strip("/") else "/"


def path_to(request: Request, name: str, query: dict[str, Any] | None = None, /, **params: Any) -> str:
    """The path of the page of this name; from `query` what is None or empty is left out."""
    path = quote(request.scope.get("root_path", "").rstrip("/")) + str(request.app.url_path_for(name, **params))
    kept = {key: value for key, value in (query or {}).items() if value not in (None, "", [], ())}
    return f"{path}?{urlencode(kept, doseq=True)}" if kept else path
