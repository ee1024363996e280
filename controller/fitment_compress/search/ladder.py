"""Who deserves more epochs, and who is not worth any. Pure.

Successive halving without waiting (Li et al., "A system for massively parallel hyperparameter
tuning", 2020): every candidate that learns begins with few epochs, and goes on to the next rung
when it is among the best that have reached its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from fitment_compress.search.front import SIGNIFICANT_ERRORS, Costs, Point, gain

EPOCHS: Final = (0.5, 2.0, 8.0)
"""The rungs: four times the epochs each."""

KEPT_RATIO: Final = 1 / 3
"""The share of the candidates of a rung that go on."""

ENOUGH_RISES: Final = 3
"""Promotions to have seen before a rise is expected like theirs, and no longer hoped for."""


@dataclass(frozen=True)
class Climber:
    """A candidate that learns, as it was measured at each rung from the lowest to its highest."""

    points: tuple[Point, ...]


def deserves_more(
    climber: Climber, others: Sequence[Climber], measured: Sequence[Point], reference: Costs
) -> bool:
    """Whether a candidate should be trained for the epochs of the next rung.

    Its score is assumed to rise as much as that of the luckiest before it; before any is known,
    to the baseline's. If even so the front would gain nothing, it is hopeless; else it must be
    among the best third that have been at its rung, by what the front would gain.

    Args:
        climber: the candidate.
        others: all others that have been at its rung, wherever they are now.
        measured: every point that is known.
        reference: the corner of the hypervolume.
    """
    rung = len(climber.points) - 1
    rise = _rise(rung, others)
    own, *rivals = (_hoped_gain(one, rung, rise, measured, reference) for one in (climber, *others))
    places = math.ceil(KEPT_RATIO * (len(rivals) + 1))
    return own > 0.0 and sum(rival > own for rival in rivals) < places


def _rise(rung: int, others: Sequence[Climber]) -> float | None:
    """The largest rise seen from this rung to the next; None where too few are known."""
    rises = [
        other.points[rung + 1].goodness - other.points[rung].goodness
        for other in others
        if len(other.points) > rung + 1
    ]
    return max(0.0, *rises) if len(rises) >= ENOUGH_RISES else None


def _hoped_gain(
    climber: Climber, rung: int, rise: float | None, measured: Sequence[Point], reference: Costs
) -> float:
    """What the front gains if the candidate's hopes at this rung come true."""
    here = climber.points[rung]
    goodness = max(here.goodness, 0.0) if rise is None else here.goodness + rise
    own = {point.name for point in climber.points}
    others = [point for point in measured if point.name not in own]
    return gain(replace(here, goodness=goodness), others, reference)


def collapsed(point: Point, lowest: float) -> bool:
    """Whether the point lost more than is tolerated, beyond chance.

    Args:
        point: measured.
        lowest: the goodness that is tolerated.
    """
    return point.goodness + SIGNIFICANT_ERRORS * point.error < lowest
