"""Times all candidates in one process, in turns.

Candidates that are timed one after the other are compared with the weather: another process
starts, the clock speed changes. In turns, the weather is the same for all of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fitment_compress.errors import CandidateError
from fitment_compress.formats import RUNTIMES
from fitment_compress.jobs import Timed, TimeJob
from fitment_compress.workspace import Workspace
from fitment_contract.benchmark import Latency
from fitment_runtime.catalog import find_runtime
from fitment_runtime.errors import RuntimeFailure
from fitment_runtime.golden import golden_feeds
from fitment_runtime.latency import nearest_rank
from fitment_runtime.session import Session, SessionOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

WARMUP: Final = 2
"""Untimed inferences at the start of a turn: the caches still hold another candidate."""

MIN_COUNT: Final = 3
"""Timed inferences in a turn, however long they take."""

MIN_ROUNDS: Final = 5
PATIENCE: Final = 4.0
"""Slow models make turns longer than asked for. After `MIN_ROUNDS`, rounds end once they have
taken this many times the seconds that all candidates together were given."""

Feeds = Sequence[Mapping[str, "NDArray[Any]"]]


def time_in_turns(job: TimeJob) -> Timed:
    """Latencies of all candidates, measured in interleaved rounds.

    Raises:
        CandidateError: one of them failed, though each had run alone.
    """
    workspace = Workspace(Path(job.workspace))
    options = SessionOptions(threads=job.threads)
    try:
        loaded: dict[str, tuple[Session, Feeds]] = {}
        for model in job.models:
            files = workspace.stage(model.key)
            runtime = find_runtime(RUNTIMES[model.format])
            session = runtime.load(files.model(model.format), options)
            loaded[model.key] = (session, golden_feeds(files.golden))
        durations = _rounds(loaded, job.rounds, job.seconds)
    except RuntimeFailure as error:
        raise CandidateError(f"{error.reason.value}: {error.detail}") from error
    return Timed(
        latencies={name: summarise(values, job.threads) for name, values in durations.items()}
    )


def summarise(durations: Sequence[float], threads: int) -> Latency:
    """Nearest-rank percentiles of single-stream inferences, in seconds."""
    ordered = sorted(durations)
    return Latency(
        p50_seconds=nearest_rank(ordered, 0.50),
        p90_seconds=nearest_rank(ordered, 0.90),
        p95_seconds=nearest_rank(ordered, 0.95),
        p99_seconds=nearest_rank(ordered, 0.99),
        mean_seconds=math.fsum(ordered) / len(ordered),
        count=len(ordered),
        threads=threads,
    )


def _rounds(
    loaded: Mapping[str, tuple[Session, Feeds]],
    rounds: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds per inference and candidate. Every round starts with another candidate."""
    names = list(loaded)
    durations: dict[str, list[float]] = {name: [] for name in names}
    begin = clock()
    for turn in range(max(rounds, 1)):
        if turn >= MIN_ROUNDS and clock() - begin > PATIENCE * seconds * len(names):
            break
        start = turn % len(names)
        for name in (*names[start:], *names[:start]):
            durations[name].extend(_turn(*loaded[name], seconds / max(rounds, 1), clock))
    return durations


def _turn(
    session: Session,
    feeds: Feeds,
    seconds: float,
    clock: Callable[[], float],
) -> list[float]:
    inputs = cycle(feeds)
    for feed in islice(inputs, WARMUP):
        session.run(feed)
    durations: list[float] = []
    begin = clock()
    for feed in inputs:
        start = clock()
        session.run(feed)
        end = clock()
        durations.append(end - start)
        if len(durations) >= MIN_COUNT and end - begin >= seconds:
            break
    return durations
