"""Which order won: recipes that are the same techniques in different orders, compared."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fitment_compress.fronts import Candidate, candidates
from fitment_compress.wording import (
    count_bytes,
    duration,
    is_significant,
    points_text,
    recipe_text,
)
from fitment_contract.benchmark import Difference
from fitment_contract.portfolio import EntryStatus, Portfolio, PortfolioEntry
from fitment_contract.variant import RecipeStep

ALIKE_BYTES: Final = 0.01
"""Sizes closer than this share decide nothing: another seed would exchange them."""

ALIKE_SECONDS: Final = 0.05
"""Median latencies closer than this share decide nothing: another run would exchange them."""


@dataclass(frozen=True)
class OrderGroup:
    """The same techniques with the same options, in at least two orders.

    Attributes:
        steps: the techniques, in the order of the alphabet.
        ranked: the orders that work, the best first.
        failed: the orders that do not.
    """

    steps: tuple[RecipeStep, ...]
    ranked: tuple[Candidate, ...]
    failed: tuple[PortfolioEntry, ...]


def order_groups(portfolio: Portfolio) -> tuple[OrderGroup, ...]:
    """The groups of at least two different orders, in the order in which they appear."""
    by_techniques: dict[tuple[str, ...], list[PortfolioEntry]] = {}
    for entry in portfolio.entries:
        key = tuple(sorted(_key(step) for step in entry.recipe))
        by_techniques.setdefault(key, []).append(entry)
    listed = {one.name: one for one in candidates(portfolio)}
    groups = []
    for members in by_techniques.values():
        if len({tuple(_key(step) for step in entry.recipe) for entry in members}) < 2:
            continue
        groups.append(
            OrderGroup(
                steps=tuple(sorted(members[0].recipe, key=_key)),
                ranked=rank([listed[entry.name] for entry in members if entry.name in listed]),
                failed=tuple(entry for entry in members if entry.status is EntryStatus.FAILED),
            )
        )
    return tuple(groups)


def rank(of: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The best first: by score; where scores do not differ, by bytes; where these do not, by speed.

    "Do not differ" is no ordering (A like B, B like C, A unlike C), so each place is given in turn
    to the best of those that are left and that none of these beats in score.
    """
    left, ranked = list(of), []
    while left:
        chosen = _best(left)
        left.remove(chosen)
        ranked.append(chosen)
    return tuple(ranked)


def score_difference(one: Candidate, other: Candidate) -> Difference:
    """The score of `one` minus that of `other`, with its standard error.

    Both were compared with the baseline sample by sample. The errors of the two differences are
    added as if they were independent, which is cautious: two orders of the same techniques mostly
    err on the same samples.
    """
    a, b = one.entry.difference, other.entry.difference
    count = min(one.score.count, other.score.count)
    if a is not None and b is not None:
        value, errors = a.value - b.value, (a.standard_error, b.standard_error)
    else:
        value = one.score.value - other.score.value
        errors = (one.score.standard_error, other.score.standard_error)
    error = math.hypot(*(error or 0.0 for error in errors))
    return Difference(value=value, standard_error=error, count=count)


def explain(group: OrderGroup) -> str:
    """One sentence: which order won, over which, in what and by how much."""
    if not group.ranked:
        return "No order works."
    winner, *others = group.ranked
    if not others:
        return f"{_called(winner)} is the only order that works."
    return f"{_lead(winner, others[0])}{_tail(winner, others)}."


def _lead(winner: Candidate, second: Candidate) -> str:
    metric = winner.score.metric
    difference = score_difference(winner, second)
    against = f"{second.name} ({recipe_text(second.entry.recipe)})"
    bytes_ = (winner.variant.compressed_bytes, second.variant.compressed_bytes)
    seconds = (winner.seconds, second.seconds)
    sizes = f"{count_bytes(bytes_[0])} against {count_bytes(bytes_[1])}"
    times = f"{duration(seconds[0])} against {duration(seconds[1])}"
    if is_significant(difference):
        ahead = points_text(metric, abs(difference.value), difference.standard_error)
        return f"{_called(winner)} wins by {ahead} of {metric} over {against}, at {sizes}, {times}"
    none = f"{_called(winner)} and {against} show no difference in {metric}"
    if not _alike(*bytes_, ALIKE_BYTES):
        return f"{none}; the first wins with fewer transferred bytes, {sizes}"
    if not _alike(*seconds, ALIKE_SECONDS):
        return f"{none} and are about as large; the first wins by latency, {times}"
    return f"{none}, are about as large and as fast: neither wins"


def _tail(winner: Candidate, others: Sequence[Candidate]) -> str:
    last = others[-1]
    difference = score_difference(winner, last)
    if len(others) < 2 or not is_significant(difference):
        return ""
    behind = points_text(last.score.metric, abs(difference.value), difference.standard_error)
    return f"; the last, {last.name} ({recipe_text(last.entry.recipe)}), is {behind} behind"


def _best(of: Sequence[Candidate]) -> Candidate:
    tied = [one for one in of if not any(_is_worse(one, other) for other in of)]
    smallest = min(one.variant.compressed_bytes for one in tied)
    small = [one for one in tied if _alike(one.variant.compressed_bytes, smallest, ALIKE_BYTES)]
    fastest = min(one.seconds for one in small)
    fast = [one for one in small if _alike(one.seconds, fastest, ALIKE_SECONDS)]
    return max(fast, key=lambda one: one.goodness)


def _is_worse(one: Candidate, other: Candidate) -> bool:
    """Whether the score of `one` is worse by more than chance explains."""
    return one.goodness < other.goodness and is_significant(score_difference(one, other))


def _alike(one: float, other: float, share: float) -> bool:
    return abs(one - other) <= share * min(one, other)


def _called(one: Candidate) -> str:
    return f"{one.name} ({recipe_text(one.entry.recipe)})"


def _key(step: RecipeStep) -> str:
    return json.dumps([step.technique, step.options], sort_keys=True, default=str)
