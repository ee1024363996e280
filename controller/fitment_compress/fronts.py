"""Who is not beaten: pairwise fronts of score, latency and transferred bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from fitment_compress.wording import is_significant
from fitment_contract.benchmark import Score
from fitment_contract.portfolio import Portfolio, PortfolioEntry
from fitment_contract.variant import Variant


class Quantity(Enum):
    """What variants are compared by."""

    SCORE = "score"
    LATENCY = "latency"
    BYTES = "transferred bytes"


PAIRS: Final = (
    (Quantity.LATENCY, Quantity.SCORE),
    (Quantity.BYTES, Quantity.SCORE),
    (Quantity.LATENCY, Quantity.BYTES),
)
"""Every two of the three quantities, as abscissa and ordinate of a picture."""


@dataclass(frozen=True)
class Candidate:
    """A listed entry with the numbers that it is compared by.

    Attributes:
        number: its place among the listed entries, from 1; what pictures call it.
        seconds: the median latency of a single thread.
    """

    number: int
    entry: PortfolioEntry
    variant: Variant
    score: Score
    seconds: float

    @property
    def name(self) -> str:
        """Of the recipe and the variant."""
        return self.entry.name

    @property
    def goodness(self) -> float:
        """The score, or its negative where lower is better."""
        return goodness(self.score, self.score.value)

    def cost(self, quantity: Quantity) -> float:
        """The quantity, turned so that lower is better."""
        if quantity is Quantity.SCORE:
            return -self.goodness
        if quantity is Quantity.LATENCY:
            return self.seconds
        return float(self.variant.compressed_bytes)


def goodness(score: Score, value: float) -> float:
    """A value of a score's metric, turned so that higher is better; its own inverse."""
    return value if score.higher_is_better else -value


def candidates(portfolio: Portfolio) -> tuple[Candidate, ...]:
    """The listed entries in their order; all of them have a variant and were scored and timed."""
    found = []
    for number, entry in enumerate(portfolio.listed(), start=1):
        score = entry.benchmark.score() if entry.benchmark else None
        assert score is not None
        assert entry.benchmark is not None
        assert entry.variant is not None
        seconds = entry.benchmark.latency.p50_seconds
        found.append(Candidate(number, entry, entry.variant, score, seconds))
    return tuple(found)


def front(of: Sequence[Candidate], by: Sequence[Quantity]) -> tuple[Candidate, ...]:
    """The candidates that no other dominates in these quantities, cheapest in the first ahead."""
    costs = [tuple(one.cost(quantity) for quantity in by) for one in of]
    kept = [
        (own, one)
        for own, one in zip(costs, of, strict=True)
        if not any(dominates(other, own) for other in costs)
    ]
    return tuple(one for _, one in sorted(kept, key=lambda pair: (pair[0], pair[1].number)))


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether no cost of `one` is higher and at least one is lower."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def without_loss(of: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Those whose score is not worse than the baseline's by more than chance explains.

    Where scores were not compared with the baseline, nobody is known to be without loss.
    """
    kept = []
    for one in of:
        difference = one.entry.difference
        if difference is None:
            continue
        worse = goodness(one.score, difference.value) < 0
        if not (worse and is_significant(difference)):
            kept.append(one)
    return tuple(kept)


def picks(of: Sequence[Candidate]) -> list[tuple[str, Candidate]]:
    """What most people look for: how small and how fast without a loss, and at all.

    Returns:
        What each is best at, and who: `Smallest and fastest of all`.
    """
    small = (Quantity.BYTES, Quantity.LATENCY, Quantity.SCORE)
    fast = (Quantity.LATENCY, Quantity.BYTES, Quantity.SCORE)
    named: dict[int, list[str]] = {}
    for which, among in (("without a measurable loss", without_loss(of)), ("of all", of)):
        if not among:
            continue
        smallest, fastest = front(among, small)[0], front(among, fast)[0]
        if smallest is fastest:
            named.setdefault(smallest.number, []).append(f"smallest and fastest {which}")
            continue
        named.setdefault(smallest.number, []).append(f"smallest {which}")
        named.setdefault(fastest.number, []).append(f"fastest {which}")
    said = {number: "; ".join(words) for number, words in named.items()}
    return [
        (words[0].upper() + words[1:], one)
        for number, words in said.items()
        for one in of
        if one.number == number
    ]
