"""The benchmark protocol: one code path for the build host and for every device.

Load, first inference, memory, golden inputs, timed inferences, energy, accuracy, kernels. Each is a
pass of its own over the same session, and warm-up is apart from all, as the MLPerf inference rules
ask. The peak of memory is read when every input of the timed pass was run once: before timing, and
before the evaluation data is loaded, unless that data has to supply the inputs because there are no
golden ones.

When the machine changed under the timed pass (see `validity`), timing begins again, as often as the
protocol allows; if that does not help, the report says why it proves nothing.
"""

from __future__ import annotations

import gc
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fitment_contract.base import sha256_hex, utc_now
from fitment_contract.benchmark import (
    BenchmarkMode,
    BenchmarkProtocol,
    BenchmarkReport,
    MetricSpec,
    Score,
)
from fitment_contract.variant import Variant
from fitment_runtime import memory
from fitment_runtime.attempts import Timed, time_steadily
from fitment_runtime.catalog import find_runtime, installed_runtimes
from fitment_runtime.dataset import Dataset, concatenate, load_dataset
from fitment_runtime.errors import DataError, UnsupportedFormat
from fitment_runtime.feeds import some_feeds
from fitment_runtime.golden import check_golden
from fitment_runtime.latency import summarise, sustained
from fitment_runtime.machine import ROOT
from fitment_runtime.metrics import AGREEMENT, default_metric, find_metric
from fitment_runtime.scoring import predict, score
from fitment_runtime.session import Runtime, Session, SessionOptions

if TYPE_CHECKING:
    from fitment_runtime.session import Array

_log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total); total is 0 where it is not known."""

_MAX_FEEDS: Final = 8
"""Different inputs that the timed pass cycles through."""


@dataclass(frozen=True)
class BenchmarkRequest:
    """What to measure.

    Attributes:
        path: the model file.
        variant: what it is.
        protocol: the terms.
        metric: how to score; None to let the labels decide.
        evaluation: the npz that comes with the model; None measures no accuracy.
        local: npz files that live on this machine, scored together as `local`.
        golden: the npz of golden inputs; None skips the check.
        fingerprint: of this machine.
        simulated: the machine's facts are declared.
        root: where the machine's /proc and /sys are.
    """

    path: Path
    variant: Variant
    protocol: BenchmarkProtocol
    metric: MetricSpec | None
    evaluation: Path | None
    fingerprint: str
    local: Sequence[Path] = ()
    golden: Path | None = None
    simulated: bool = False
    root: Path = ROOT


@dataclass(frozen=True)
class _Loaded:
    session: Session
    feeds: list[dict[str, Array]]
    load_seconds: float
    first_inference_seconds: float
    peak_memory_bytes: int


def run_benchmark(request: BenchmarkRequest, progress: Progress | None = None) -> BenchmarkReport:
    """Measure one variant on this machine.

    Raises:
        RuntimeFailure: the variant does not load, run, agree with its golden inputs, or fit its
            data; the subclass says which.
    """
    tell = progress or _silent
    started_at = utc_now()
    deadline = time.monotonic() + request.protocol.wall_limit_seconds
    runtime = find_runtime(request.variant.needs.runtime)
    options = SessionOptions(
        threads=request.protocol.threads, providers=_chosen_providers(request.variant, runtime)
    )
    runtime.prepare()
    loaded = _load(request, runtime, options, tell)
    timed = time_steadily(
        loaded.session, loaded.feeds, request.protocol, options, deadline, request.root, tell
    )
    report = _report(request, runtime, loaded, timed, started_at)
    scores = _scores(request, loaded.session, tell)
    feed = loaded.feeds[0]
    del loaded
    gc.collect()
    tell("kernels", 0, 1)
    kernels = runtime.kernels(request.path, feed, options)
    return report.model_copy(update={"scores": scores, "kernels": kernels})


def _report(
    request: BenchmarkRequest,
    runtime: Runtime,
    loaded: _Loaded,
    timed: Timed,
    started_at: datetime,
) -> BenchmarkReport:
    full = request.protocol.mode is BenchmarkMode.FULL
    return BenchmarkReport(
        id=uuid.uuid4().hex,
        mode=request.protocol.mode,
        model=request.variant.model,
        variant=request.variant.name,
        digest=request.variant.digest,
        fingerprint=request.fingerprint,
        simulated=request.simulated,
        runtime=runtime.name,
        runtime_version=_version(runtime.name),
        started_at=started_at,
        latency=summarise(timed.timing, request.protocol.threads),
        load_seconds=loaded.load_seconds,
        first_inference_seconds=loaded.first_inference_seconds,
        peak_memory_bytes=loaded.peak_memory_bytes,
        conditions=timed.conditions,
        sustained=sustained(timed.timing) if full else None,
        energy=timed.energy,
        attempts=timed.attempts,
        valid=timed.fault is None,
        invalid_reason=timed.fault,
    )


def _load(
    request: BenchmarkRequest, runtime: Runtime, options: SessionOptions, tell: Progress
) -> _Loaded:
    """From file to the first inference and the peak of memory; then the golden inputs."""
    gc.collect()
    memory.reset_peak()
    resident_before = memory.resident_bytes()
    tell("load", 0, 1)
    start = time.perf_counter()
    session = runtime.load(request.path, options)
    load_seconds = time.perf_counter() - start
    feeds = _feeds(request, session)
    start = time.perf_counter()
    session.run(feeds[0])
    first_seconds = time.perf_counter() - start
    for feed in feeds:
        session.run(feed)
    peak = memory.peak_resident_bytes()
    if request.golden is not None and request.variant.golden is not None:
        tell("golden", 0, 1)
        check_golden(request.golden, session, request.variant.golden.tolerance)
    return _Loaded(session, feeds, load_seconds, first_seconds, max(peak - resident_before, 0))


def _feeds(request: BenchmarkRequest, session: Session) -> list[dict[str, Array]]:
    """Inputs for the timed pass: the golden ones, else evaluation samples, else made-up ones."""
    if request.golden is None and request.evaluation is not None:
        dataset = load_dataset(request.evaluation, session.inputs)
        return [dataset.feeds(index) for index in range(min(len(dataset), _MAX_FEEDS))]
    return some_feeds(session, request.golden)[:_MAX_FEEDS]


def _scores(request: BenchmarkRequest, session: Session, tell: Progress) -> tuple[Score, ...]:
    if request.metric == MetricSpec(name=AGREEMENT):
        return ()
    found = (_shipped_score(request, session, tell), _local_score(request, session, tell))
    return tuple(score for score in found if score is not None)


def _shipped_score(request: BenchmarkRequest, session: Session, tell: Progress) -> Score | None:
    """The score on the split that came with the model, named by that split's content."""
    if request.evaluation is None:
        return None
    dataset = load_dataset(request.evaluation, session.inputs)
    if dataset.label is None:
        return None
    found = _score(request.metric, dataset, session, "shipped", tell)
    return found.model_copy(update={"data_digest": sha256_hex(request.evaluation.read_bytes())})


def _local_samples(request: BenchmarkRequest, session: Session) -> dict[str, Dataset]:
    """The local files that fit the model; the others are skipped, with a warning in the log."""
    found = {}
    for path in request.local:
        try:
            dataset = load_dataset(path, session.inputs)
            if dataset.label is None:
                raise DataError(f"{path.name} has no array 'label'")
            found[path.stem] = dataset
        except DataError as error:
            _log.warning("local samples skipped: %s", error)
    return found


def _score(
    metric: MetricSpec | None, dataset: Dataset, session: Session, name: str, tell: Progress
) -> Score:
    outputs = predict(session, dataset, lambda done, total: tell("accuracy", done, total))
    return score(outputs, dataset, find_metric(metric or default_metric(dataset.label)), name)


def _local_score(request: BenchmarkRequest, session: Session, tell: Progress) -> Score | None:
    """The score on the device's own samples; None when there are none that fit.

    Samples collected for an earlier version of the model must never block the next one.
    """
    samples = _local_samples(request, session)
    if not samples:
        return None
    try:
        return _score(request.metric, concatenate(samples), session, "local", tell)
    except DataError as error:
        _log.warning("local samples skipped: %s", error)
        return None


def _chosen_providers(variant: Variant, runtime: Runtime) -> tuple[str, ...]:
    wanted = variant.needs.providers_any_of
    if not wanted:
        return ()
    available = runtime.describe(_version(runtime.name)).providers
    chosen = tuple(provider for provider in wanted if provider in available)
    if not chosen:
        raise UnsupportedFormat(
            f"{variant.name} needs one of {', '.join(wanted)}; {runtime.name} has "
            f"{', '.join(available)} here"
        )
    return chosen


def _version(name: str) -> str:
    return next(facts.version for facts in installed_runtimes() if facts.name == name)


def _silent(stage: str, done: int, total: int) -> None:
    """The progress of a caller who does not ask."""
