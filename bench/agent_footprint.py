"""How much an idle agent takes after a deployment: memory, processor time, libraries.

A real agent, started by its command line, a real broker and a real deployment; then it is left
alone for a warm-up and sampled over a window. Nothing is declared, nothing is subtracted:

    python bench/agent_footprint.py [--window 60] [--warmup 10] [--runs 3] [-o json]

Resident size counts shared pages in full; PSS counts each page by the share of its users, so it
depends on what else runs. Linux only: it reads `/proc`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from fitment_contract.phase import Phase  # noqa: E402 - the tests' lab is beside, not installed
from support.agent_lab import Lab  # noqa: E402

RSS_TARGET_MIB = 40.0
CPU_TARGET_PERCENT = 0.5
SAMPLE_SECONDS = 5.0
FOREIGN = ("numpy", "onnxruntime", "litert", "tflite", "tensorflow")


@dataclass(frozen=True)
class Footprint:
    """One run. MiB are 2^20 bytes, as `ps` and `top` count; percent is of one core."""

    rss_max_mib: float
    rss_median_mib: float
    pss_median_mib: float
    anonymous_median_mib: float
    cpu_percent: float
    threads: int
    window_seconds: float
    foreign_libraries: tuple[str, ...]

    @property
    def meets_targets(self) -> bool:
        """Whether this run is within every target."""
        return (
            self.rss_max_mib <= RSS_TARGET_MIB
            and self.cpu_percent <= CPU_TARGET_PERCENT
            and not self.foreign_libraries
        )


def measure(warmup_seconds: float, window_seconds: float) -> Footprint:
    """Bring an agent up, let it deploy, then watch it do nothing."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        agent = start_agent(lab)
        try:
            lab.headquarters.desire(1, lab.assignment())
            lab.headquarters.await_state(Phase.ACTIVE, 1)
            time.sleep(warmup_seconds)
            return watch(agent.pid, window_seconds)
        finally:
            agent.kill()
            agent.wait()
            lab.close()


def start_agent(lab: Lab) -> subprocess.Popen[bytes]:
    """The agent with its default intervals, as a service would start it."""
    arguments = ("--state-dir", str(lab.state_dir), "--broker", lab.broker.url)
    return subprocess.Popen(
        [sys.executable, "-m", "fitment_agent", "run", "--device-id", lab.device, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def watch(pid: int, window_seconds: float) -> Footprint:
    """Sample memory through the window; processor time over all of it."""
    samples = []
    started, cpu_started = time.monotonic(), cpu_seconds(pid)
    while (elapsed := time.monotonic() - started) < window_seconds:
        samples.append(memory_mib(pid))
        time.sleep(min(SAMPLE_SECONDS, window_seconds - elapsed))
    samples.append(memory_mib(pid))
    elapsed = time.monotonic() - started
    maps = Path(f"/proc/{pid}/maps").read_text()
    return Footprint(
        rss_max_mib=max(sample["Rss"] for sample in samples),
        rss_median_mib=statistics.median(sample["Rss"] for sample in samples),
        pss_median_mib=statistics.median(sample["Pss"] for sample in samples),
        anonymous_median_mib=statistics.median(sample["Anonymous"] for sample in samples),
        cpu_percent=100 * (cpu_seconds(pid) - cpu_started) / elapsed,
        threads=len(os.listdir(f"/proc/{pid}/task")),
        window_seconds=round(elapsed, 1),
        foreign_libraries=tuple(name for name in FOREIGN if name in maps),
    )


def memory_mib(pid: int) -> dict[str, float]:
    """Resident, proportional and anonymous size."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {key: int(value) / 1024 for key, value in re.findall(r"(\w+):\s+(\d+) kB", text)}


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads, to the nanosecond where the kernel counts so."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def print_table(runs: Sequence[Footprint]) -> None:
    """One line a run, and whether the targets are met."""
    print("RUN    RSS max    RSS med       PSS      anon      CPU threads foreign")
    for number, run in enumerate(runs, start=1):
        print(
            f"{number:>3} {run.rss_max_mib:>6.1f} MiB {run.rss_median_mib:>6.1f} MiB "
            f"{run.pss_median_mib:>5.1f} MiB {run.anonymous_median_mib:>5.1f} MiB "
            f"{run.cpu_percent:>6.3f} % {run.threads:>7} {' '.join(run.foreign_libraries) or '-'}"
        )
    verdict = "met" if all(run.meets_targets for run in runs) else "NOT met"
    print(
        f"targets (RSS <= {RSS_TARGET_MIB:g} MiB, CPU <= {CPU_TARGET_PERCENT:g} %, "
        f"no inference library): {verdict}"
    )


def main() -> int:
    """Measure as asked; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--window", type=float, default=60.0, help="seconds sampled")
    parser.add_argument("--warmup", type=float, default=10.0, help="seconds before that")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    options = parser.parse_args()
    runs = [measure(options.warmup, options.window) for _ in range(options.runs)]
    if options.output == "json":
        content = {
            "apiVersion": "fitment/v1",
            "kind": "AgentFootprint",
            "python": platform.python_version(),
            "machine": platform.machine(),
            "runs": [{**asdict(run), "meets_targets": run.meets_targets} for run in runs],
        }
        print(json.dumps(content, indent=2))
    else:
        print_table(runs)
    return 0 if all(run.meets_targets for run in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
