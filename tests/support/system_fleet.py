"""A whole installation of real processes: a controller with its broker, and agents."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fitment_controller.client import Client, UnreachableError
from support.edge_mqtt import free_port

LIMIT_SECONDS = 90.0
FLEET = Path(__file__).parents[2] / "examples" / "fleet"


def wait_for(condition: Callable[[], Any], what: str, seconds: float = LIMIT_SECONDS) -> Any:
    """Poll until `condition` is truthy and return it; fail with `what` when it never is."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain: {what}"
        time.sleep(0.05)


class Process:
    """A child process with its output in a file; started again with the same command."""

    def __init__(self, command: list[str], log_file: Path) -> None:
        self._command = command
        self.log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """As a power cut would: no chance to say goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None


class Headquarters:
    """`fitment up` on fixed free ports, so that a restarted controller is where it was."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.data = folder / "data"
        self._ready_file = folder / "ready.json"
        port, broker_port = free_port("127.0.0.1"), free_port("127.0.0.1")
        command = [
            *(sys.executable, "-m", "fitment_controller", "up", "--data", str(self.data)),
            *("--port", str(port), "--broker-port", str(broker_port)),
            *("--ready-file", str(self._ready_file), "--trial-seconds", "0.5", *options),
        ]
        self.process = Process(command, folder / "controller.log")
        self.api = Client(f"http://127.0.0.1:{port}")

    def start(self) -> None:
        self._ready_file.unlink(missing_ok=True)
        self.process.start()

        def ready() -> bool:
            assert self.process.alive(), self.process.log_file.read_text()
            return self._ready_file.exists()

        wait_for(ready, "the controller's ready file")
        self.ready: dict[str, Any] = json.loads(self._ready_file.read_text())

    @property
    def broker_url(self) -> str:
        return str(self.ready["broker_url"])

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command line as a person would type it, against this controller."""
        command = [sys.executable, "-m", "fitment_controller", *arguments]
        environment = {**os.environ, "FITMENT_URL": self.api.url}
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)

    def push(self, folder: Path) -> None:
        done = self.cli("model", "push", str(folder))
        assert done.returncode == 0, done.stderr

    def device(self, id: str) -> dict[str, Any]:
        return self.api.get(f"/v1/devices/{id}")

    def model(self, device: str, model: str) -> dict[str, Any]:
        """One model on one device; empty before anything is known of it."""
        for entry in self.device(device)["models"]:
            if entry["model"] == model:
                return dict(entry)
        return {}

    def online(self, *ids: str) -> bool:
        rows = {row["id"]: row for row in self.api.get("/v1/devices")["items"]}
        return all(id in rows and rows[id]["online"] for id in ids)

    def start_rollout(self, **request: Any) -> str:
        return str(self.api.post("/v1/rollouts", request)["id"])

    def rollout(self, id: str) -> dict[str, Any]:
        return self.api.get(f"/v1/rollouts/{id}")

    def finished(self, id: str, seconds: float = LIMIT_SECONDS) -> dict[str, Any]:
        """The rollout once nothing more will happen."""

        def done() -> dict[str, Any] | None:
            try:
                rollout = self.rollout(id)
            except UnreachableError:
                return None
            return rollout if rollout["done"] else None

        found: dict[str, Any] = wait_for(done, f"the end of rollout {id}", seconds)
        return found


class Agent:
    """`fitment-agent run` with declared facts."""

    def __init__(
        self,
        folder: Path,
        id: str,
        broker_url: str,
        facts: str = "x86-box",
        region: str = "eu-west",
        *options: str,
        state_dir: Path | None = None,
    ) -> None:
        self.id = id
        self.state_dir = state_dir or folder / id
        command = [
            *(sys.executable, "-m", "fitment_agent", "run", "--device-id", id),
            *("--broker", broker_url, "--region", region),
            *("--state-dir", str(self.state_dir), "--facts", str(FLEET / f"{facts}.json")),
            *("--heartbeat-seconds", "1", *options),
        ]
        self.process = Process(command, folder / f"{id}.log")

    def start(self) -> None:
        self.process.start()

    def pointer(self, model: str) -> dict[str, Any] | None:
        """What applications on the device read, checked: it names a file that is there."""
        path = self.state_dir / "models" / model / "active.json"
        if not path.exists():
            return None
        content: dict[str, Any] = json.loads(path.read_text())
        assert (self.state_dir / content["path"]).is_file()
        return content


def kill_pid(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
