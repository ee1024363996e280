"""The session options with which one model runs fastest on this machine: measured, not guessed.

Threads and cores first, then the memory arena with what won. Execution providers and delegates
are tried in a process of their own each, because a driver that crashes takes its process along:
see `challenge`. One session is open at a time, so that tuning needs no more memory than a trial.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fitment_contract.base import utc_now
from fitment_contract.benchmark import BenchmarkProtocol, SessionTuning
from fitment_contract.variant import Variant
from fitment_runtime.affinity import pinned, usable_cores
from fitment_runtime.catalog import find_runtime
from fitment_runtime.contest import MIN_ROUNDS, best_of, cpu_candidates, hold_contest
from fitment_runtime.feeds import some_feeds
from fitment_runtime.golden import check_golden
from fitment_runtime.latency import median, time_inferences
from fitment_runtime.session import Session, SessionOptions
from fitment_runtime.turns import own_turn

if TYPE_CHECKING:
    from fitment_runtime.session import Array

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total); total is 0 where it is not known."""

_BLOCK: Final = BenchmarkProtocol(warmup=3, min_seconds=0.25, min_count=5, max_seconds=2.0)
_TURN_SECONDS: Final = 10.0
_MAX_FEEDS: Final = 8


@dataclass(frozen=True)
class TuneRequest:
    """What to tune.

    Attributes:
        path: the model file.
        variant: what it is.
        fingerprint: of this machine.
        golden: the npz of golden inputs; None skips the check.
        providers: that the variant needs; empty for the CPU.
        clusters: this machine's cores by kind, the fastest kind first.
        seconds: begin no new round after this long.
    """

    path: Path
    variant: Variant
    fingerprint: str
    golden: Path | None = None
    providers: tuple[str, ...] = ()
    clusters: Sequence[Sequence[int]] = ()
    seconds: float = 60.0

    @property
    def reference(self) -> SessionOptions:
        """What everything is compared with, and what trials measure: one thread."""
        return SessionOptions(threads=1, providers=self.providers)


def tune(request: TuneRequest, progress: Progress | None = None) -> SessionTuning:
    """Find the best threads, cores and arena.

    Raises:
        RuntimeFailure: the variant does not run here, whatever the options.
    """
    tuner = _Tuner(request, progress)
    candidates = cpu_candidates(request.reference, usable_cores(), request.clusters)
    best = tuner.best(candidates)
    if tuner.runtime.has_arena:
        best = tuner.best((best, replace(best, arena=False)), stands=best)
    return tuner.result(best)


def challenge(
    request: TuneRequest, champion: SessionTuning, provider: str, progress: Progress | None = None
) -> SessionTuning:
    """Whether a provider or delegate runs the model faster than the best that was found so far.

    Args:
        request: what is tuned.
        champion: what was found without the provider; measured again, in turns with it.
        provider: takes what it can of the graph; what it leaves goes to the CPU.
        progress: called with (stage, done, total).

    Raises:
        RuntimeFailure: the variant does not run here with any of the options.
    """
    tuner = _Tuner(request, progress)
    runtime = tuner.runtime.describe("")
    others = (provider, *(name for name in runtime.providers if name.startswith("CPU")))
    found = options_of(champion, request)
    threads = sorted({1, champion.threads})
    accelerated = [replace(request.reference, threads=one, providers=others) for one in threads]
    return tuner.result(
        tuner.best((found, *accelerated), stands=found), earlier=champion.candidates
    )


def options_of(tuning: SessionTuning, request: TuneRequest) -> SessionOptions:
    """A tuning as options to load with."""
    return SessionOptions(
        threads=tuning.threads,
        affinity=tuning.affinity,
        providers=tuning.providers or request.providers,
        arena=tuning.arena,
    )


class _Tuner:
    """Measures candidates of one request, and remembers what was measured.

    Args:
        request: what is tuned.
        progress: told of every block.
    """

    def __init__(self, request: TuneRequest, progress: Progress | None) -> None:
        self.runtime = find_runtime(request.variant.needs.runtime)
        self.runtime.prepare()
        self._request = request
        self._tell = progress or _silent
        self._deadline = time.monotonic() + request.seconds
        self._proved: set[SessionOptions] = set()
        self._blocks: dict[SessionOptions, list[float]] = {}
        self._count = 0

    def best(
        self, candidates: Sequence[SessionOptions], stands: SessionOptions | None = None
    ) -> SessionOptions:
        """The best of `candidates` and the reference."""
        reference = self._request.reference
        others = [options for options in candidates if options != reference]
        self._blocks = hold_contest(reference, others, self._measure, self._has_time, stands)
        if stands in self._blocks and len(self._blocks[reference]) < MIN_ROUNDS:
            return stands  # time ran out before anything was decided
        return best_of(self._blocks)

    def result(self, best: SessionOptions, earlier: int = 0) -> SessionTuning:
        """The outcome, with what was measured in the last contest."""
        reference = self._blocks[self._request.reference]
        needed = self._request.providers
        return SessionTuning(
            digest=self._request.variant.digest,
            fingerprint=self._request.fingerprint,
            threads=best.threads,
            affinity=best.affinity,
            providers=() if best.providers == needed else best.providers,
            arena=best.arena,
            p50_seconds=statistics.median(self._blocks[best]),
            reference_p50_seconds=statistics.median(reference),
            candidates=earlier + len(self._proved),
            measured_at=utc_now(),
        )

    def _measure(self, options: SessionOptions) -> float:
        """Load, and time inferences for a moment: the median in seconds."""
        self._count += 1
        self._tell("tune", self._count, 0)
        with pinned(options.affinity):
            session = self.runtime.load(self._request.path, options)
            if options not in self._proved:
                self._prove(session)
                self._proved.add(options)
            feeds: list[dict[str, Array]] = some_feeds(session, self._request.golden)[:_MAX_FEEDS]
            with own_turn(_TURN_SECONDS):
                return median(time_inferences(session, feeds, _BLOCK).records)

    def _prove(self, session: Session) -> None:
        """Options that change what the model computes are no options."""
        golden = self._request.variant.golden
        if self._request.golden is not None and golden is not None:
            check_golden(self._request.golden, session, golden.tolerance)

    def _has_time(self) -> bool:
        return time.monotonic() < self._deadline


def _silent(stage: str, done: int, total: int) -> None:
    """The progress of a caller who does not ask."""
