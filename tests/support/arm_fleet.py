"""A controller on the host, and one agent on each emulated board, joined to it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fitment_contract.base import sha256_hex
from support.system_fleet import Headquarters, Process, wait_for
from tools.arm.device import AGENT, STATE, Device

JOIN_SECONDS = 300.0
ROLLOUT_SECONDS = 420.0
"""Emulated devices take a hundred times as long, and share the host's cores."""

PATIENT = (
    *("--trial-seconds", "0.2", "--trial-limit-seconds", "300"),
    *("--lease-seconds", "120"),
)


@dataclass(frozen=True)
class EmulatedAgent:
    """`fitment-agent run` on a board, as its user would start it."""

    device: Device
    process: Process

    @property
    def id(self) -> str:
        """The board's name."""
        return self.device.board.name

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`fitment-agent` on the same device, beside the agent that runs there."""
        where = ("--state-dir", STATE)
        command = self.device.command_beside(self.process.pid, *AGENT, *arguments, *where)
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    def pointer(self, model: str) -> dict[str, Any] | None:
        """What applications on the device read, checked: its file is there, byte for byte."""
        path = self.device.state / "models" / model / "active.json"
        if not path.exists():
            return None
        content: dict[str, Any] = json.loads(path.read_text())
        assert sha256_hex((self.device.state / content["path"]).read_bytes()) == content["digest"]
        return content


@dataclass(frozen=True)
class Fleet:
    """Controller and agents."""

    headquarters: Headquarters
    agents: Mapping[str, EmulatedAgent]


@contextmanager
def running_fleet(folder: Path, devices: Mapping[str, Device]) -> Iterator[Fleet]:
    """Everything started and every device joined; nothing is left at the end."""
    headquarters = Headquarters(folder, *PATIENT)
    agents: dict[str, EmulatedAgent] = {}
    try:
        headquarters.start()
        for name, device in devices.items():
            agents[name] = _start(device, headquarters.broker_url, folder)
        wait_for(lambda: headquarters.online(*agents), "all boards to join", JOIN_SECONDS)
        yield Fleet(headquarters, agents)
    finally:
        for agent in agents.values():
            agent.process.stop()
        headquarters.process.stop()


def _start(device: Device, broker_url: str, folder: Path) -> EmulatedAgent:
    name = device.board.name
    options = [
        *("--device-id", name, "--broker", broker_url, "--state-dir", STATE),
        *("--label", "emulated=true", "--region", "eu-west", "--heartbeat-seconds", "5"),
    ]
    process = Process(device.command(*AGENT, "run", *options), folder / f"{name}.log")
    process.start()
    return EmulatedAgent(device, process)
