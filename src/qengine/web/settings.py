"""What all pages of one dashboard share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

from qengine.engine import Engine
from qengine.web.live import Live
from qengine.web.masking import Mask
from qengine.web.trends import Trends
from qengine.web.work import Works

Actor = Callable[[Request], str]
"""A hook: who acts by this request, for the record of actions."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The options of a dashboard, and what it holds while it runs."""

    engine: Engine
    read_only: bool
    mask: Mask
    actor: Actor
    title: str
    """What the pages are headed with."""
    works: Works
    live: Live
    trends: Trends


def of(request: Request) -> Dashboard:
    """The dashboard that a request is for."""
    found: Dashboard = request.app.state.dashboard
    return found
