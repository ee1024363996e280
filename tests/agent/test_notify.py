"""What the service manager is told, over a real socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fitment_agent.notify import Notifier, ServiceManager
from fitment_agent.settings import service_manager


@pytest.fixture(params=["path", "abstract"])
def listening(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[str, socket.socket]]:
    """An address as systemd gives it, and the socket that listens there."""
    name = f"@fitment-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if name.startswith("@") else name)
        manager.settimeout(20)
        yield name, manager


def test_it_says_ready_alive_and_stopping(listening: tuple[str, socket.socket]) -> None:
    address, manager = listening
    notifier = Notifier(ServiceManager(address, watchdog_seconds=20.0))
    notifier.ready()
    notifier.alive()
    notifier.stopping()
    assert [manager.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]
    assert notifier.alive_seconds == 10.0


def test_nobody_listening_is_no_failure(tmp_path: Path) -> None:
    for address in (None, str(tmp_path / "gone"), "@" + "x" * 300):
        notifier = Notifier(ServiceManager(address))
        notifier.ready()
        assert notifier.alive_seconds is None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ServiceManager()),
        ({"NOTIFY_SOCKET": ""}, ServiceManager()),
        (
            {"NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "30000000"},
            ServiceManager("/run/systemd/notify", 30.0),
        ),
        (
            {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())},
            ServiceManager(None, 1.0),
        ),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, ServiceManager()),
        ({"WATCHDOG_USEC": "soon"}, ServiceManager()),
        ({"WATCHDOG_USEC": "-5"}, ServiceManager()),
        ({"WATCHDOG_USEC": "0"}, ServiceManager()),
    ],
)
def test_the_environment_says_who_listens(
    environment: dict[str, str], expected: ServiceManager
) -> None:
    assert service_manager(environment) == expected
