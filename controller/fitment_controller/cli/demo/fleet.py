"""The six devices of the demonstration, and the real agent process behind each."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fitment_controller.cli.demo.process import ChildProcess


@dataclass(frozen=True)
class DemoDevice:
    """A device of the demonstration.

    Attributes:
        id: also the name of its facts file under `examples/fleet/`.
        region: the name of a region profile.
        person: whose data the device holds, as a file name under the example's `subjects/`; used
            where the example has such files.
    """

    id: str
    region: str
    person: str


DEVICES = (
    DemoDevice("pi-zero-2", "east-africa", "subject-7"),
    DemoDevice("pi-5", "eu-west", "subject-8"),
    DemoDevice("jetson-orin", "eu-west", "subject-9"),
    DemoDevice("phone-battery", "south-asia", "subject-10"),
    DemoDevice("phone-charging", "south-asia", "subject-7"),
    DemoDevice("x86-box", "eu-west", "subject-9"),
)


@dataclass(frozen=True)
class AgentHome:
    """Where an agent process of the demonstration keeps its state and finds what it is given."""

    device: DemoDevice
    state_dir: Path
    facts_file: Path
    log_file: Path


def prepare_agent(
    device: DemoDevice, examples: Path, example: str, model: str, folder: Path
) -> AgentHome:
    """Make the device's state folder and put the samples of its own person into it."""
    home = AgentHome(
        device=device,
        state_dir=folder / device.id,
        facts_file=examples / "fleet" / f"{device.id}.json",
        log_file=folder / f"{device.id}.log",
    )
    own = home.state_dir / "eval" / model
    own.mkdir(parents=True)
    samples = examples / example / "subjects" / f"{device.person}.npz"
    if samples.exists():
        shutil.copy(samples, own)
    return home


@contextmanager
def running_agent(home: AgentHome, broker_url: str) -> Iterator[ChildProcess]:
    """An agent process for the device, stopped at the end."""
    command = [
        *(sys.executable, "-m", "fitment_agent", "run"),
        *("--device-id", home.device.id),
        *("--broker", broker_url),
        *("--region", home.device.region),
        *("--state-dir", str(home.state_dir)),
        *("--facts", str(home.facts_file)),
        *("--heartbeat-seconds", "5"),
    ]
    with ChildProcess(f"agent {home.device.id}", command, home.log_file) as child:
        yield child
