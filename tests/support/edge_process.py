"""`fitment` as a real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from support.edge_mqtt import wait_for

COMMAND = [sys.executable, "-m", "fitment_controller"]


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without any `FITMENT_*`, and with `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FITMENT_")}
    return {**kept, **variables}


def fitment(*arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        input=stdin,
        env=environment(**variables),
    )


class UpProcess:
    """`fitment up`, started and ready.

    Args:
        data: its data directory.
        arguments: further flags; ports are free ones unless given.
    """

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        self.log = data.parent / f"{data.name}.log"
        self._ready_file = data.parent / f"{data.name}.ready.json"
        self._ready_file.unlink(missing_ok=True)
        ports = [
            part
            for flag in ("--port", "--broker-port")
            if flag not in arguments
            for part in (flag, "0")
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(*COMMAND, "up", "--data", str(data), "--ready-file", str(self._ready_file)),
                    *ports,
                    *arguments,
                ],
                stdout=log,
                stderr=log,
                env=environment(),
            )
        wait_for(self._ready_or_dead, f"`fitment up`: see {self.log}", seconds=60)
        assert self.process.poll() is None, self.log.read_text()
        self.ready: dict[str, Any] = json.loads(self._ready_file.read_text())

    def _ready_or_dead(self) -> bool:
        return self._ready_file.exists() or self.process.poll() is not None

    def __enter__(self) -> UpProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()

    @property
    def port(self) -> str:
        return str(self.ready["url"]).rsplit(":", 1)[1]

    @property
    def broker_port(self) -> str:
        return str(self.ready["broker_url"]).rsplit(":", 1)[1]

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=60)
