"""Which session options win, given how to measure one of them for a moment.

Candidates are measured in turns, so that a machine that grows hot slows all of them alike, and
the slower half is left behind after every few rounds (successive halving: Jamieson and Talwalkar,
2016). Who is left is measured anew, because those rounds flatter whom they picked, and compared
round by round: only a gain beyond the noise, and one that is worth the trouble, displaces simpler
options.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from fitment_runtime.errors import RuntimeFailure
from fitment_runtime.session import SessionOptions

MIN_GAIN: Final = 0.03
"""A smaller gain is no reason to take more threads: they cost energy, and others their cores."""

HEAT_ROUNDS: Final = 2
FINAL_ROUNDS: Final = 8
STANDARD_ERRORS: Final = 3.0
"""More than the two that tell a difference, because several challengers have a try each."""

_FINALISTS: Final = 2
MIN_ROUNDS: Final = 3  # with fewer there is no telling a gain from noise

Measure = Callable[[SessionOptions], float]
"""Median seconds of an inference over a moment; raises `RuntimeFailure` where it cannot run."""

Blocks: TypeAlias = Mapping[SessionOptions, Sequence[float]]
"""What each of some candidates took, round by round; the same rounds for all of them."""


def cpu_candidates(
    reference: SessionOptions, cores: Sequence[int], clusters: Sequence[Sequence[int]] = ()
) -> tuple[SessionOptions, ...]:
    """What is worth measuring beside `reference`: more threads, and only the faster cores.

    Args:
        reference: one thread on any core; the others differ from it in threads and affinity.
        cores: that may be used.
        clusters: cores by kind, the fastest kind first; empty where there is one kind or nobody
            knows. Cores that may not be used are left out.
    """
    usable = set(cores)
    kinds = [kept for kind in clusters if (kept := sorted(usable.intersection(kind)))]
    found = [replace(reference, threads=count) for count in _counts(1, len(usable))]
    fastest: list[int] = []
    for kind in kinds:
        least, fastest = len(fastest) + 1, sorted([*fastest, *kind])
        if len(fastest) < len(usable):  # else it would be all of them again
            pinned = replace(reference, affinity=tuple(fastest))
            found += [replace(pinned, threads=count) for count in _counts(least, len(fastest))]
    return tuple(options for options in dict.fromkeys(found) if options != reference)


def hold_contest(
    reference: SessionOptions,
    challengers: Sequence[SessionOptions],
    measure: Measure,
    has_time: Callable[[], bool] = lambda: True,
    stands: SessionOptions | None = None,
) -> dict[SessionOptions, list[float]]:
    """Measure in turns; what the finalists and `reference` took in the last rounds.

    A challenger that cannot run is out. When time runs out, the round under way is the last. The
    challenger that `stands`, because it won before, is in the last rounds whatever the heats say.

    Raises:
        RuntimeFailure: `reference` itself cannot run.
    """
    blocks: dict[SessionOptions, list[float]] = {reference: []}
    blocks.update({options: [] for options in challengers})
    finalists = {reference, stands}.intersection(blocks)
    while len(blocks) > len(finalists) + _FINALISTS and has_time():
        _play(reference, blocks, measure, HEAT_ROUNDS, has_time)
        kept = survivors(reference, blocks)
        blocks = {
            options: taken for options, taken in blocks.items() if options in kept | finalists
        }
    finals: dict[SessionOptions, list[float]] = {options: [] for options in blocks}
    _play(reference, finals, measure, FINAL_ROUNDS, has_time)
    return finals


def survivors(reference: SessionOptions, blocks: Blocks) -> frozenset[SessionOptions]:
    """The faster half, whoever is simpler than all of it and as fast, and `reference`.

    At least one goes, unless two or fewer stand beside `reference`.
    """
    seconds = {one: statistics.median(taken) for one, taken in blocks.items() if one != reference}
    others = sorted(seconds, key=lambda one: seconds[one])
    half = others[: max(len(others) // 2, _FINALISTS)]
    best = seconds[half[0]] if half else 0.0
    as_fast = [one for one in others[len(half) :] if seconds[one] * (1 - MIN_GAIN) <= best]
    simplest = min((*half, *as_fast), key=_effort, default=reference)
    if simplest not in half and len(half) + 1 < len(others):
        half = [*half, simplest]
    return frozenset((reference, *half))


def best_of(blocks: Blocks) -> SessionOptions:
    """The simplest options that no others beat."""
    ordered = sorted(blocks, key=_effort)
    best = ordered[0]
    for options in ordered[1:]:
        if beats(blocks[options], blocks[best]):
            best = options
    return best


def beats(challenger: Sequence[float], incumbent: Sequence[float]) -> bool:
    """Whether the challenger is faster by `MIN_GAIN`, and by more than `STANDARD_ERRORS`.

    Args:
        challenger: seconds, round by round.
        incumbent: of the same rounds: what disturbed the one disturbed the other.
    """
    if len(challenger) < MIN_ROUNDS:
        return False
    ratios = [math.log(one / other) for one, other in zip(challenger, incumbent, strict=True)]
    gain = -statistics.fmean(ratios)
    error = statistics.stdev(ratios) / math.sqrt(len(ratios))
    return gain >= -math.log(1.0 - MIN_GAIN) and gain > STANDARD_ERRORS * error


def _play(
    reference: SessionOptions,
    blocks: dict[SessionOptions, list[float]],
    measure: Measure,
    rounds: int,
    has_time: Callable[[], bool],
) -> None:
    """Some rounds; each begins with another candidate, so that none always follows the same."""
    for number in range(rounds):
        if not has_time() and blocks[reference]:
            return
        standing = list(blocks)
        first = number % len(standing)
        for options in standing[first:] + standing[:first]:
            try:
                blocks[options].append(measure(options))
            except RuntimeFailure:
                if options == reference:
                    raise
                del blocks[options]


def _counts(least: int, most: int) -> list[int]:
    """Powers of two from `least` to `most`, and `most`."""
    powers = [1 << bit for bit in range(most.bit_length())]
    return [count for count in powers if least <= count < most] + ([most] if most else [])


def _effort(options: SessionOptions) -> tuple[bool, int, bool, bool]:
    """Simpler options first: the CPU before others, fewer threads, any core, the usual arena."""
    return (bool(options.providers), options.threads, bool(options.affinity), not options.arena)
