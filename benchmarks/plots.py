"""Plots as SVG, made from the figures: bars of rates and latencies, and lines of growth on logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from benchmarks.campaign import Outcome
from benchmarks.catalogue import entries
from benchmarks.figures import Figure, figure
from benchmarks.measures import GROWTH, MEASURES, VERBS

WIDTH = 720
LEFT, RIGHT, TOP = 150, 110, 46
BAR, GAP = 18, 8
COLOURS = {"ours": "#2563eb", "ceiling": "#9ca3af", "peer": "#d97706"}
LINES = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2")
NAMES = {"postgres": "PostgreSQL", "sqlite": "SQLite"}
COMPARED = dict.fromkeys(("Enqueue", "Drain"), ("rate", "jobs/s")) | {"Pick-up": ("p50", "ms, median (shorter is better)")}
"""By group of measures: the figure in which systems are drawn side by side."""
FAR_OFF = 5
"""A ceiling so many times as high as our figure is not drawn: nothing else could be told apart."""
STYLE = 'font-family="system-ui, sans-serif" font-size="12" fill="#374151"'


def plots(outcome: Outcome) -> dict[str, str]:
    """Every plot that the figures are enough for, by file name."""
    return {name: drawn for place in outcome.places for name, drawn in (*_bars(outcome, place), *_lines(outcome, place))}


def _bars(outcome: Outcome, place: str) -> Iterator[tuple[str, str]]:
    """Systems side by side."""
    for measure in MEASURES:
        name, unit = COMPARED.get(measure.group, ("", ""))
        rows = [
            (entry.name, entry.kind, figure(values))
            for entry in entries(place, peers=True)
            if (values := outcome.values(place, measure.name, entry.name, name))
        ]
        rows = [row for row in rows if not (row[1] == "ceiling" and row[2].median > FAR_OFF * _ours(rows))]
        if len(rows) > 1:
            title = f"{NAMES[place]}: {measure.group.lower()}, {measure.title}, {unit}"
            yield f"{place}-{measure.name}.svg", bars(title, rows)


def _ours(rows: Sequence[tuple[str, str, Figure]]) -> float:
    return next((found.median for _, kind, found in rows if kind == "ours"), math.inf)


def _lines(outcome: Outcome, place: str) -> Iterator[tuple[str, str]]:
    """Growth: a plot for each verb with a line for each kind of other jobs; one for types and one for workers."""
    others = [kind for kind in GROWTH if kind not in ("types", "workers")]
    for verb in ("claim", "settle", "enqueue"):
        found = {kind: _points(outcome, place, kind, verb) for kind in others}
        yield from _drawn(f"{place}-growth-other-{verb}.svg", f"{NAMES[place]}: {verb}, calls a second, by other jobs", found)
    for kind in ("types", "workers"):
        found = {verb: _points(outcome, place, kind, verb) for verb in VERBS}
        yield from _drawn(f"{place}-growth-{kind}-all.svg", f"{NAMES[place]}: calls a second, by {kind}", found)


def _drawn(name: str, title: str, found: Mapping[str, Sequence[tuple[int, float]]]) -> Iterator[tuple[str, str]]:
    if lines := {line: points for line, points in found.items() if len(points) > 1}:
        yield name, growth(title, lines)


def _points(outcome: Outcome, place: str, kind: str, verb: str) -> list[tuple[int, float]]:
    return [
        (size, figure(values).median)
        for size in GROWTH[kind]
        if (values := outcome.values(place, f"growth-{kind}-{size}", "qengine", verb))
    ]


def bars(title: str, rows: Sequence[tuple[str, str, Figure]]) -> str:
    """Horizontal bars with their spread, the longest first."""
    rows = sorted(rows, key=lambda row: -row[2].median)
    most = max(row[2].high for row in rows)
    scale = (WIDTH - LEFT - RIGHT) / most
    parts = [_text(0, 18, title, weight="600")]
    for place, (name, kind, found) in enumerate(rows):
        y = TOP + place * (BAR + GAP)
        middle = y + BAR * 0.72
        parts += [
            _text(LEFT - 8, middle, name, anchor="end"),
            f'<rect x="{LEFT}" y="{y}" width="{found.median * scale:.1f}" height="{BAR}" rx="2" fill="{COLOURS[kind]}"/>',
            f'<path d="M{LEFT + found.low * scale:.1f} {y + BAR / 2}H{LEFT + found.high * scale:.1f}" stroke="#111827"/>',
            _text(LEFT + found.high * scale + 6, middle, _number(found.median)),
        ]
    return _svg(TOP + len(rows) * (BAR + GAP), parts)


def growth(title: str, lines: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """Lines on logarithmic axes."""
    height, bottom = 300, 250
    sizes = [size for points in lines.values() for size, _ in points]
    rates = [rate for points in lines.values() for _, rate in points]
    across = _Axis(min(sizes), max(sizes), 60, WIDTH - RIGHT)
    up = _Axis(10 ** math.floor(math.log10(min(rates))), 10 ** math.ceil(math.log10(max(rates))), bottom, TOP)
    parts = [_text(0, 18, title, weight="600")]
    parts += [_text(across.at(size), bottom + 18, f"{size:,}", anchor="middle") for size in sorted(set(sizes))]
    for power in range(round(math.log10(up.low)), round(math.log10(up.high)) + 1):
        y = up.at(10**power)
        parts += [f'<path d="M60 {y:.1f}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>', _text(54, y + 4, _number(10**power), anchor="end")]
    for points, colour in zip(lines.values(), LINES, strict=False):
        path = " ".join(f"{across.at(size):.1f},{up.at(rate):.1f}" for size, rate in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    # The names stand apart from each other even where the lines meet.
    ends = sorted((up.at(points[-1][1]), name, colour) for (name, points), colour in zip(lines.items(), LINES, strict=False))
    y = 0.0
    for end, name, colour in ends:
        y = max(end, y + 14)
        parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{y + 4:.1f}" {STYLE.replace("#374151", colour)}>{escape(name)}</text>')
    return _svg(height, parts)


class _Axis:
    def __init__(self, low: float, high: float, begin: float, end: float) -> None:
        self.low, self.high = low, high if high > low else low * 10
        self._begin, self._end = begin, end

    def at(self, value: float) -> float:
        """The place of a value."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self._begin + share * (self._end - self._begin)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "400") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" {STYLE}>{escape(text)}</text>'


def _svg(height: float, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )
