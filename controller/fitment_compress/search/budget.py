"""How much time there is, how long candidates take, and whether one still fits."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from fitment_compress.recipe import Recipe
from fitment_compress.search.rules import EPOCHS, Techniques, learns
from fitment_contract.variant import RecipeStep

GRACE_RATIO: Final = 0.1
"""A candidate that takes longer than expected may overrun the budget by this share of it."""

MEASURING: Final = "measuring"
PRIOR_SECONDS: Final[Mapping[str, float]] = {MEASURING: 4.0, "int8-static": 3.0, "int8-mixed": 20.0}
"""What parts of a candidate take before anything is known: a small model on two cores."""

_PRIOR_STEP: Final = 1.0
_PRIOR_EPOCH: Final = 20.0
_RATE: Final = 0.5
"""Share of an error that is corrected at once."""

_REMEMBERED: Final = 20
_CAUTION: Final = 0.8
"""The quantile of actual over expected durations that is planned with."""


class Budget:
    """Wall-clock time that begins now.

    Args:
        seconds: how much.
        clock: seconds that never go back.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self.seconds = seconds
        self._clock = clock
        self._begin = clock()

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._begin

    @property
    def left(self) -> float:
        """Seconds until the end; negative after it."""
        return self.seconds - self.spent

    @property
    def deadline(self) -> float:
        """On the clock: when whatever still runs is given up."""
        return self._begin + self.seconds * (1.0 + GRACE_RATIO)

    @property
    def past_deadline(self) -> bool:
        """Whether `deadline` has passed."""
        return self._clock() >= self.deadline


class Durations:
    """Learns how long the parts of a candidate take; may be used by several threads.

    A duration is the sum of one term for measuring and one per step, times the epochs where the
    step learns. Each finished candidate moves its terms towards what it took (the normalised
    least-mean-squares rule), the large ones more, because the error is most likely theirs.
    """

    def __init__(self, techniques: Techniques) -> None:
        self._techniques = techniques
        self._seconds: dict[str, float] = {}
        self._ratios: deque[float] = deque(maxlen=_REMEMBERED)
        self._lock = threading.Lock()

    def expected(self, recipe: Recipe) -> float:
        """Seconds that the recipe will take, cautiously."""
        with self._lock:
            return self._sum(recipe) * self._caution()

    def least(self) -> float:
        """Seconds that any recipe takes at least."""
        with self._lock:
            return self._term(MEASURING)

    def learn(self, recipe: Recipe, seconds: float) -> None:
        """The recipe took that long; what was remembered of it makes later ones cheaper too."""
        with self._lock:
            expected = self._sum(recipe)
            self._ratios.append(seconds / expected)
            units = self._units(recipe)
            terms = {part: self._term(part) * count for part, count in units.items()}
            scale = sum(term**2 for term in terms.values())
            for part, count in units.items():
                change = _RATE * (seconds - expected) * terms[part] ** 2 / scale / count
                self._seconds[part] = max(self._term(part) + change, 1e-3)

    def _sum(self, recipe: Recipe) -> float:
        return sum(self._term(part) * count for part, count in self._units(recipe).items())

    def _units(self, recipe: Recipe) -> dict[str, float]:
        units = {MEASURING: 1.0}
        for step in recipe.steps:
            units[step.technique] = units.get(step.technique, 0.0) + self._count(step)
        return units

    def _count(self, step: RecipeStep) -> float:
        if not learns(step, self._techniques):
            return 1.0
        options = self._techniques[step.technique].options.model_validate(step.options)
        return float(getattr(options, EPOCHS))

    def _term(self, part: str) -> float:
        technique = self._techniques.get(part)
        usual = _PRIOR_EPOCH if technique is not None and technique.learns else _PRIOR_STEP
        return self._seconds.get(part, PRIOR_SECONDS.get(part, usual))

    def _caution(self) -> float:
        """How much longer than the sum candidates take, in the worse cases; at least as long."""
        if not self._ratios:
            return 1.0
        ordered = sorted(self._ratios)
        return max(1.0, ordered[math.ceil(_CAUTION * len(ordered)) - 1])
