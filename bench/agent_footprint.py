"""How much an idle agent takes after a deployment: memory, processor time, time to its birth.

A real agent, started by its command line, a real broker and a real deployment; then it is left
alone for a warm-up and sampled every ten seconds over ten minutes, three times: the method of AWS
IoT Greengrass Lite's published figures. Nothing is declared, nothing is subtracted:

    python bench/agent_footprint.py [--window 600] [--warmup 60] [--runs 3] [-o json]

Resident size counts shared pages in full; PSS counts each page by the share of its users, so it
depends on what else runs. Within the window the agent tunes what is active, once, in a worker,
whose processor time is not the daemon's. The first birth waits for a worker that looks at the
runtimes; later ones know what it found. Linux only: it reads `/proc`.
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

from fitment_contract.messages import Birth  # noqa: E402 - the tests' lab is beside, not installed
from fitment_contract.phase import Phase  # noqa: E402
from support.agent_lab import Lab, wait_until  # noqa: E402

PSS_TARGET_MB = 32.0
CPU_TARGET_PERCENT = 0.3
BIRTH_TARGET_SECONDS = 1.5
SAMPLE_SECONDS = 10.0
FOREIGN = ("numpy", "onnxruntime", "litert", "tflite", "tensorflow")


@dataclass(frozen=True)
class Footprint:
    """One run. MiB are 2^20 bytes, as `ps` and `top` count; percent is of one core.

    Births are counted from the start of the process to the message's arrival at headquarters.
    """

    first_birth_seconds: float
    birth_seconds: float
    rss_max_mib: float
    rss_median_mib: float
    pss_max_mib: float
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
            self.pss_median_mib * 2**20 <= PSS_TARGET_MB * 1e6
            and self.birth_seconds <= BIRTH_TARGET_SECONDS
            and self.cpu_percent <= CPU_TARGET_PERCENT
            and not self.foreign_libraries
        )


def measure(warmup_seconds: float, window_seconds: float) -> Footprint:
    """Bring an agent up, let it deploy, then watch it do nothing."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        births = []
        try:
            for _ in range(2):
                agent, seconds = born(lab)
                births.append(seconds)
                if len(births) == 1:
                    stop(agent)
            lab.headquarters.desire(1, lab.assignment())
            lab.headquarters.await_state(Phase.ACTIVE, 1)
            time.sleep(warmup_seconds)
            return watch(agent.pid, window_seconds, births)
        finally:
            stop(agent)
            lab.close()


def born(lab: Lab) -> tuple[subprocess.Popen[bytes], float]:
    """An agent that has said birth, and how long that took."""
    before = len(lab.headquarters.all(Birth))
    started = time.monotonic()
    agent = start_agent(lab)
    wait_until(lambda: len(lab.headquarters.all(Birth)) > before, "a birth")
    return agent, time.monotonic() - started


def stop(agent: subprocess.Popen[bytes]) -> None:
    """End it at once."""
    agent.kill()
    agent.wait()


def start_agent(lab: Lab) -> subprocess.Popen[bytes]:
    """The agent with its default intervals, as a service would start it."""
    arguments = ("--state-dir", str(lab.state_dir), "--broker", lab.broker.url)
    return subprocess.Popen(
        [sys.executable, "-m", "fitment_agent", "run", "--device-id", lab.device, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def watch(pid: int, window_seconds: float, births: Sequence[float]) -> Footprint:
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
        first_birth_seconds=births[0],
        birth_seconds=births[1],
        rss_max_mib=max(sample["Rss"] for sample in samples),
        rss_median_mib=statistics.median(sample["Rss"] for sample in samples),
        pss_max_mib=max(sample["Pss"] for sample in samples),
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
    print("RUN 1st birth   birth    RSS max    PSS max    PSS med      anon      CPU foreign")
    for number, run in enumerate(runs, start=1):
        print(
            f"{number:>3} {run.first_birth_seconds:>7.2f} s {run.birth_seconds:>5.2f} s "
            f"{run.rss_max_mib:>6.1f} MiB {run.pss_max_mib:>6.1f} MiB "
            f"{run.pss_median_mib:>6.1f} MiB {run.anonymous_median_mib:>5.1f} MiB "
            f"{run.cpu_percent:>6.3f} % {' '.join(run.foreign_libraries) or '-'}"
        )
    verdict = "met" if all(run.meets_targets for run in runs) else "NOT met"
    print(
        f"targets (median PSS <= {PSS_TARGET_MB:g} MB, CPU <= {CPU_TARGET_PERCENT:g} %, birth <= "
        f"{BIRTH_TARGET_SECONDS:g} s, no inference library): {verdict}"
    )


def main() -> int:
    """Measure as asked; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--window", type=float, default=600.0, help="seconds sampled")
    parser.add_argument("--warmup", type=float, default=60.0, help="seconds before that")
    parser.add_argument("--runs", type=int, default=3)
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
