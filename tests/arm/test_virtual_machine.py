"""An arm64 machine killed in the middle of an update, three times.

Whatever it was at, it comes back with the variant that it had or with the new one, whole; what it
had said to be active stays so; and it ends where it was told to go, without help.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fitment_contract.base import sha256_hex
from support.arm_fleet import JOIN_SECONDS, PATIENT, ROLLOUT_SECONDS
from support.arm_models import save_int8
from support.system_fleet import Headquarters, Process, wait_for
from support.system_portfolio import MODEL, Build, write_toy_portfolio
from tools.arm.device import System
from tools.arm.machine import (
    HOST,
    Image,
    build_image,
    build_state_disk,
    machine_command,
    read_state_disk,
)

pytestmark = [pytest.mark.arm, pytest.mark.timeout(900)]

ID = "machine"
OLD, NEW = "fp32", "int8"


@dataclass(frozen=True)
class Machine:
    """The machine, its disk, and the controller that it reports to."""

    process: Process
    state_disk: Path
    headquarters: Headquarters
    scratch: Path

    def boot(self) -> None:
        """Until the controller has heard from it."""
        self.process.start()
        wait_for(self._joined, "the machine to join", JOIN_SECONDS)

    def kill_when(self, moment: Callable[[], bool], what: str) -> None:
        """As a reset button would, as soon as the controller has heard of the moment."""
        wait_for(moment, what, ROLLOUT_SECONDS)
        self.process.kill()
        wait_for(lambda: not self.headquarters.online(ID), "the will of the killed machine")

    def phase(self) -> str:
        return str(self.headquarters.model(ID, MODEL).get("phase"))

    def acknowledged(self) -> str | None:
        """The variant that it last told the controller to be active."""
        found = self.headquarters.model(ID, MODEL).get("active")
        return str(found) if found else None

    def _joined(self) -> bool:
        assert self.process.alive(), self.process.log_file.read_text()
        return self.headquarters.online(ID)

    def variant_on_disk(self) -> str:
        """What an application would be given at the next start, checked byte for byte."""
        state = read_state_disk(self.state_disk, self.scratch / "found")
        pointer = json.loads((state / "models" / MODEL / "active.json").read_text())
        assert sha256_hex((state / pointer["path"]).read_bytes()) == pointer["digest"]
        return str(pointer["variant"])


@pytest.fixture(scope="module")
def image(systems: Mapping[str, System], cache: Path) -> Image:
    return build_image(systems["arm64"].root, systems["arm64"].site, cache / "machine")


@pytest.fixture
def machine(image: Image, tmp_path: Path) -> Iterator[Machine]:
    """Booted, joined, and running the old variant."""
    headquarters = Headquarters(tmp_path, *PATIENT, "--advertise", HOST)
    with _stopped_at_the_end(headquarters.process):
        headquarters.start()
        settings = {
            "device_id": ID,
            "broker_url": headquarters.broker_url,
            "labels": "emulated=true",
            "region": "eu-west",
            "heartbeat_seconds": "5",
        }
        disk = build_state_disk(tmp_path / "state.img")
        command = machine_command(image, disk, tmp_path / "console.log", settings)
        process = Process(command, tmp_path / "machine.log")
        found = Machine(process, disk, headquarters, tmp_path)
        with _stopped_at_the_end(process):
            found.boot()
            _push(headquarters, tmp_path)
            rollout = headquarters.start_rollout(model=MODEL, variant=OLD)
            ended = headquarters.finished(rollout, ROLLOUT_SECONDS)
            assert ended["state"] == "completed", ended
            yield found


def test_killed_three_times_in_one_update_it_arrives_whole(machine: Machine) -> None:
    rollout = machine.headquarters.start_rollout(model=MODEL, variant=NEW)
    begun = {"fetching", "verifying", "trial"}

    machine.kill_when(lambda: machine.phase() in begun, "the transfer to begin")
    assert machine.variant_on_disk() == OLD

    machine.boot()
    machine.kill_when(lambda: machine.phase() == "trial", "the trial to begin")
    assert machine.variant_on_disk() in (OLD, NEW)

    machine.boot()
    machine.kill_when(lambda: machine.acknowledged() == NEW, "the acknowledgement")
    assert machine.variant_on_disk() == NEW

    machine.boot()
    ended = machine.headquarters.finished(rollout, ROLLOUT_SECONDS)
    assert ended["state"] == "completed", ended
    wait_for(lambda: machine.phase() == "active", "the machine to say that it is done")
    assert machine.acknowledged() == NEW


def _push(headquarters: Headquarters, folder: Path) -> None:
    new = Build(save_int8(folder / "int8.onnx"), 5e-4, own_golden=True, precision="int8")
    write_toy_portfolio(folder / "portfolio", {NEW: new})
    headquarters.push(folder / "portfolio")


@contextmanager
def _stopped_at_the_end(process: Process) -> Iterator[None]:
    try:
        yield
    finally:
        process.stop()
