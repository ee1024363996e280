"""Whether the agent's benchmark is honest: what its clock adds, and what it refuses.

First, latency: the median that `fitment_runtime` times, against that of a bare loop around
onnxruntime's own `run`, over the same session in the same process. Both take short turns, which
start with the other one each time, so that the weather on the machine is the same for both.

Then, throttling: real trials in real workers that are held back from the middle on. Once by a CPU
quota on the worker's control group, which the kernel counts; where groups cannot be written, that
is said and left out. Once by signals that stop the worker half of the time, a hundred times a
second, which no counter tells, so that only the figures can. Each must be refused with its reason;
the same trials without it, and after it was lifted, must be valid.

    python bench/agent_benchmark.py [--blocks 8] [--seconds 1.0] [-o json]

Linux only. A quota takes root, or a group that the user may write to.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import signal
import statistics
import sys
import tempfile
import threading
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from onnx.helper import make_node

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from fitment_agent.local_bench import assignment_of_file, look_at_runtimes  # noqa: E402
from fitment_agent.supervise import WorkerProcess  # noqa: E402
from fitment_agent.worker.jobs import Progress, TrialDone, TrialJob, WorkerEvent  # noqa: E402
from fitment_contract.benchmark import BenchmarkProtocol, BenchmarkReport  # noqa: E402
from fitment_contract.device import DeviceFacts  # noqa: E402
from fitment_runtime.catalog import find_runtime  # noqa: E402
from fitment_runtime.latency import median, time_inferences  # noqa: E402
from fitment_runtime.turns import own_turn  # noqa: E402
from support import runtime_models  # noqa: E402 - the tests' models are beside, not installed

TARGET_RATIO = 0.03
WARMUP = 10
TURNS = 20
TRIAL_SECONDS = 4.0
PRESS_AFTER_SECONDS = 2.0
QUOTA_RATIO = 0.3
PERIOD_MICROSECONDS = 100_000
STOP_SECONDS = 0.005
EXAMPLES = ("activity", "fashion")


@dataclass(frozen=True)
class Overhead:
    """Our median over the bare loop's, one ratio per block."""

    model: str
    bare_p50_seconds: float
    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median of all blocks."""
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool:
        """Whether it is within the target."""
        return abs(self.ratio - 1.0) <= TARGET_RATIO


@dataclass(frozen=True)
class Verdict:
    """What became of one trial."""

    held_back_by: str
    expected_valid: bool
    valid: bool
    attempts: int
    cpu_share: float | None
    reason: str | None

    @property
    def met(self) -> bool:
        """Whether the trial was believed exactly when it should be."""
        return self.valid is self.expected_valid


# Latency


def overhead(name: str, blocks: int, seconds: float) -> Overhead:
    """One ratio per block, in which both take `TURNS` turns of together `seconds` each."""
    session: Any = find_runtime("onnxruntime").load(ROOT / "examples" / name / "model.onnx")
    rng = np.random.default_rng(0)
    (spec,) = session.inputs
    shape = [1 if axis is None else axis for axis in spec.shape]
    feeds = [{spec.name: rng.standard_normal(shape).astype(np.float32)} for _ in range(8)]
    terms = BenchmarkProtocol(warmup=WARMUP, min_seconds=seconds / TURNS, min_count=1)

    def ours() -> Sequence[float]:
        return time_inferences(session, feeds, terms).records

    def bare() -> Sequence[float]:
        return bare_loop(session._session, feeds, seconds / TURNS)

    ratios, bares = [], []
    with own_turn(60.0):
        for _ in range(blocks):
            found: dict[Any, array[float]] = {ours: array("d"), bare: array("d")}
            for turn in range(TURNS):
                for measure in (ours, bare) if turn % 2 else (bare, ours):
                    found[measure].extend(measure())
            bares.append(median(found[bare]))
            ratios.append(median(found[ours]) / bares[-1])
    return Overhead(name, statistics.median(bares), tuple(ratios))


def bare_loop(session: Any, feeds: Sequence[Mapping[str, Any]], seconds: float) -> Sequence[float]:
    """The least that Python needs to time onnxruntime's `run`."""
    run, clock, inputs, durations = session.run, time.perf_counter, cycle(feeds), array("d")
    for feed in islice(inputs, WARMUP):
        run(None, feed)
    end = clock() + seconds
    for feed in inputs:
        begin = clock()
        run(None, feed)
        now = clock()
        durations.append(now - begin)
        if now >= end:
            break
    return durations


# Throttling


class Brake(Protocol):
    """A way to hold a process back."""

    name: str

    def attach(self, pid: int) -> None:
        """Name the process; it still runs freely."""

    def press(self) -> None:
        """Hold it back from now on."""

    def release(self) -> None:
        """Let it run again; pressing is not needed before."""

    def close(self) -> None:
        """Leave nothing behind; the process is gone."""


class Quota:
    """A CPU quota on a control group of our own.

    Raises:
        OSError: there are no groups that can be written here.
    """

    def __init__(self) -> None:
        first, second = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
        self._folder = (first if first.is_dir() else second) / f"fitment-bench-{os.getpid()}"
        self._folder.mkdir()
        self._first = (self._folder / "cpu.cfs_quota_us").exists()
        if not self._first and not (self._folder / "cpu.max").exists():
            self._folder.rmdir()
            raise OSError("the group has no CPU controller")
        version = "cgroup v1" if self._first else "cgroup v2"
        self.name = f"CPU quota of {QUOTA_RATIO:.0%} of a core ({version})"

    def attach(self, pid: int) -> None:
        """Move the process into the group, which has no limit yet."""
        (self._folder / "cgroup.procs").write_text(str(pid))

    def press(self) -> None:
        """Set the limit."""
        quota = int(QUOTA_RATIO * PERIOD_MICROSECONDS)
        self._limit(str(quota) if self._first else f"{quota} {PERIOD_MICROSECONDS}")

    def release(self) -> None:
        """Lift the limit."""
        self._limit("-1" if self._first else "max")

    def close(self) -> None:
        """Remove the group."""
        self._folder.rmdir()

    def _limit(self, text: str) -> None:
        (self._folder / ("cpu.cfs_quota_us" if self._first else "cpu.max")).write_text(text)


class Signals:
    """SIGSTOP and SIGCONT in turns: the process runs half of the time, and no counter tells."""

    name = f"stopped every other {STOP_SECONDS * 1000:.0f} ms (signals)"

    def __init__(self) -> None:
        self._pid = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def attach(self, pid: int) -> None:
        """Remember the process."""
        self._pid = pid

    def press(self) -> None:
        """Start stopping."""
        if not self._ended.is_set():
            self._thread = threading.Thread(target=self._pulse)
            self._thread.start()

    def release(self) -> None:
        """End stopping."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def close(self) -> None:
        """See `release`."""
        self.release()

    def _pulse(self) -> None:
        try:
            while not self._ended.wait(STOP_SECONDS):
                os.kill(self._pid, signal.SIGSTOP)
                time.sleep(STOP_SECONDS)
                os.kill(self._pid, signal.SIGCONT)
        except ProcessLookupError:
            return


def trial(
    model: Path, attempts: int, brake: Brake | None = None, release: bool = False
) -> BenchmarkReport:
    """One trial in a worker.

    Args:
        model: the file to measure.
        attempts: how often it may be timed.
        brake: pressed in the middle of the first timed pass.
        release: already before the second, rather than with the trial.
    """
    facts = DeviceFacts(runtimes=look_at_runtimes())
    protocol = BenchmarkProtocol(min_seconds=TRIAL_SECONDS, attempts=attempts)
    with tempfile.TemporaryDirectory() as folder:
        assignment = assignment_of_file(model, facts, Path(folder))
        job = TrialJob(
            state_dir=folder,
            assignment=assignment.model_copy(update={"protocol": protocol}),
            fingerprint=facts.fingerprint,
            simulated=False,
        )
        final = _watch(job, brake, release)
    assert isinstance(final, TrialDone), final
    return final.report


def _watch(job: TrialJob, brake: Brake | None, release: bool) -> WorkerEvent:
    """Run the job; use the brake as it comes along."""
    events: queue.SimpleQueue[WorkerEvent] = queue.SimpleQueue()
    worker = WorkerProcess(
        job, wall_limit_seconds=120.0, memory_limit_bytes=None, on_event=events.put
    )
    try:
        while isinstance(event := events.get(), Progress):
            if brake is None or worker.pid is None:
                continue
            if event.stage == "load":
                brake.attach(worker.pid)
            elif event.stage == "latency" and event.done == 0:
                threading.Timer(PRESS_AFTER_SECONDS, brake.press).start()
            elif release or event.stage != "latency":
                brake.release()
        return event
    finally:
        worker.stop()
        if brake is not None:
            brake.close()


def slow_model(folder: Path) -> Path:
    """Convolutions that take some tens of milliseconds: longer than a process is stopped for."""
    rng = np.random.default_rng(0)
    names = ["x", *(f"h{layer}" for layer in range(7)), "y"]
    weights = [
        runtime_models.constant(f"w{layer}", rng.normal(0, 0.05, (32, 32, 3, 3)).astype(np.float32))
        for layer in range(8)
    ]
    nodes = [
        make_node("Conv", [begin, f"w{layer}"], [end], pads=[1, 1, 1, 1])
        for layer, (begin, end) in enumerate(pairwise(names))
    ]
    shape = (1, 32, 96, 96)
    return runtime_models.save(
        folder / "slow.onnx", nodes, [("x", "float32", shape)], [("y", "float32", shape)], weights
    )


def verdicts() -> list[Verdict]:
    """Every trial, held back and not."""
    example = ROOT / "examples" / "fashion" / "model.onnx"
    found = [_verdict("nothing", True, trial(example, attempts=3))]
    try:
        for release in (False, True):
            quota = Quota()
            until = ", lifted after the first attempt" if release else ""
            report = trial(example, 2, quota, release)
            found.append(_verdict(quota.name + until, release, report))
    except OSError as error:
        print(f"no quota was set ({error}): run as root, where groups can be written")
    with tempfile.TemporaryDirectory() as folder:
        slow = slow_model(Path(folder))
        found.append(_verdict("nothing (slow model)", True, trial(slow, attempts=3)))
        report = trial(slow, 2, Signals())
        found.append(_verdict(f"{Signals.name} (slow model)", False, report))
    return found


def _verdict(held_back_by: str, expected_valid: bool, report: BenchmarkReport) -> Verdict:
    return Verdict(
        held_back_by=held_back_by,
        expected_valid=expected_valid,
        valid=report.valid,
        attempts=report.attempts,
        cpu_share=report.conditions.cpu_share,
        reason=report.invalid_reason,
    )


def print_tables(overheads: Sequence[Overhead], found: Sequence[Verdict]) -> None:
    """Both tables, in Markdown."""
    print(
        f"{platform.machine()}, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )
    print("\n| model | bare p50 | ours / bare, median | lowest and highest | target | met |")
    print("|---|---|---|---|---|---|")
    for row in overheads:
        print(
            f"| {row.model} | {row.bare_p50_seconds * 1e6:.1f} µs | {row.ratio:.4f} | "
            f"{min(row.ratios):.4f} to {max(row.ratios):.4f} over {len(row.ratios)} blocks | "
            f"within {TARGET_RATIO:.0%} | {'yes' if row.met else 'NO'} |"
        )
    print("\n| held back by | attempts | processor | believed | reason | as it should |")
    print("|---|---|---|---|---|---|")
    for verdict in found:
        share = "-" if verdict.cpu_share is None else f"{verdict.cpu_share:.0%}"
        print(
            f"| {verdict.held_back_by} | {verdict.attempts} | {share} | "
            f"{'yes' if verdict.valid else 'no'} | {verdict.reason or '-'} | "
            f"{'yes' if verdict.met else 'NO'} |"
        )


def main() -> int:
    """Measure as asked; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=8, help="ratios per model")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each loop in a block")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    overheads = [overhead(name, options.blocks, options.seconds) for name in EXAMPLES]
    found = verdicts()
    if options.output == "json":
        content = {
            "apiVersion": "fitment/v1",
            "kind": "AgentBenchmark",
            "latency": [{**asdict(row), "ratio": row.ratio, "met": row.met} for row in overheads],
            "throttling": [{**asdict(verdict), "met": verdict.met} for verdict in found],
        }
        print(json.dumps(content, indent=2))
    else:
        print_tables(overheads, found)
    return 0 if all([*(row.met for row in overheads), *(verdict.met for verdict in found)]) else 1


if __name__ == "__main__":
    sys.exit(main())
