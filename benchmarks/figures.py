"""Medians, spreads, and ratios with how sure they are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

RESAMPLES = 2000


@dataclass(frozen=True)
class Figure:
    """A median of samples, and between which values they lay; or a ratio, and its 95 % confidence interval."""

    median: float
    low: float
    high: float
    samples: int


def figure(samples: Sequence[float]) -> Figure:
    """What the samples say."""
    return Figure(median(samples), min(samples), max(samples), len(samples))


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Figure | None:
    """The ratio of the medians, with its 95 % confidence interval by bootstrap; None where there is nothing to divide by."""
    if not ours or not theirs or min(theirs) <= 0:
        return None
    dice = random.Random(len(ours))
    found = sorted(
        median(dice.choices(ours, k=len(ours))) / median(dice.choices(theirs, k=len(theirs))) for _ in range(RESAMPLES)
    )
    return Figure(
        median(ours) / median(theirs), found[int(RESAMPLES * 0.025)], found[int(RESAMPLES * 0.975)], min(len(ours), len(theirs))
    )
