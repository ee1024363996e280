"""A day of an idle device on the wire: real packets, counted, times the real schedule."""

from __future__ import annotations

import math
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fitment_agent.conditions import Surroundings
from fitment_agent.link import (
    KEEPALIVE_SECONDS,
    BrokerAddress,
    Connected,
    LinkEvent,
    PahoLink,
)
from fitment_agent.settings import Settings
from fitment_agent.vitals import Pace
from fitment_contract.device import PowerSource
from fitment_contract.messages import Birth, Vitals
from support.agent_lab import Lab, running_agent, wait_until

pytestmark = pytest.mark.system

DAY_SECONDS = 86_400
BUDGET_BYTES = 100_000
PING_BYTES = len(b"\xc0\x00\xd0\x00")  # a request and its answer; seen on the wire below
GIB = 1 << 30


class CountingProxy:
    """Passes bytes between devices and a broker, and keeps them."""

    def __init__(self, broker_port: int) -> None:
        self.up = bytearray()
        self.down = bytearray()
        self._broker_port = broker_port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def total_bytes(self) -> int:
        return len(self.up) + len(self.down)

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                device, _ = self._server.accept()
            except OSError:
                return
            broker = socket.create_connection(("127.0.0.1", self._broker_port))
            for ends in ((device, broker, self.up), (broker, device, self.down)):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, kept: bytearray) -> None:
        while True:
            try:
                content = source.recv(65536)
                kept += content
                target.sendall(content)
            except OSError:
                return
            if not content:
                target.close()
                return


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.close()


@pytest.fixture
def proxy(lab: Lab) -> Iterator[CountingProxy]:
    proxy = CountingProxy(lab.broker.port)
    yield proxy
    proxy.close()


def vitals_of_a_day(settings: Settings) -> int:
    """How many vitals the daemon's schedule says in a day, with its default settings."""
    pace, now, count = (
        Pace(
            settings.heartbeat_seconds,
            settings.heartbeat_max_seconds,
            settings.heartbeat_max_saving_seconds,
        ),
        0.0,
        0,
    )
    pace.restart(now)
    while now < DAY_SECONDS:
        now += max(pace.seconds_to_next_look(now), 0.001)
        count += pace.look(a_room(now), now) is not None
    return count


def a_room(seconds: float) -> Surroundings:
    """A board on mains in a room that is 10 degrees warmer in the afternoon than at night."""
    warmth = -5 * math.cos(2 * math.pi * seconds / DAY_SECONDS)
    flutter = math.sin(seconds)
    return Surroundings(
        source=PowerSource.MAINS,
        temperature_celsius=48 + warmth + 0.5 * flutter,
        throttled=False,
        metered=False,
        memory_available_bytes=int((3.0 + 0.04 * flutter) * GIB),
        memory_total_bytes=4 * GIB,
        storage_free_bytes=20 * GIB,
        storage_total_bytes=30 * GIB,
    )


def test_a_day_of_an_idle_device_costs_less_than_100_kilobytes(
    lab: Lab, proxy: CountingProxy
) -> None:
    settings = lab.settings(
        broker_url=f"mqtt://127.0.0.1:{proxy.port}",
        heartbeat_seconds=0.3,
        heartbeat_max_seconds=0.3,
        heartbeat_max_saving_seconds=0.3,
    )

    def said(at_least: int) -> int:
        wait_until(lambda: len(lab.headquarters.all(Vitals)) >= at_least, "vitals")
        return len(lab.headquarters.all(Vitals))

    with running_agent(settings):
        wait_until(lambda: lab.headquarters.all(Birth), "a birth")
        said(1)
        connecting_bytes = proxy.total_bytes  # connect, birth, subscriptions, vitals
        first = len(lab.headquarters.all(Vitals))
        last = said(first + 10)
        vitals_bytes = proxy.total_bytes - connecting_bytes
    one_bytes = vitals_bytes / (last - first)
    defaults = Settings(device_id="x", state_dir=Path("/"))
    count = vitals_of_a_day(defaults)
    pings_bytes = PING_BYTES * DAY_SECONDS / KEEPALIVE_SECONDS
    day_bytes = connecting_bytes + count * one_bytes + pings_bytes
    print(
        f"{connecting_bytes} B to connect, {count} vitals of {one_bytes:.0f} B, "
        f"{pings_bytes:.0f} B of pings: {day_bytes:.0f} B a day"
    )
    assert one_bytes > 100  # vitals were indeed counted
    assert day_bytes <= BUDGET_BYTES


def test_a_keepalive_is_four_bytes(lab: Lab, proxy: CountingProxy) -> None:
    events: queue.SimpleQueue[LinkEvent] = queue.SimpleQueue()
    link = PahoLink(BrokerAddress("127.0.0.1", proxy.port, tls=False), "device", events.put)
    link.connect(1, "wills/device", b"", keepalive_seconds=1)
    assert events.get(timeout=20) == Connected(1)
    up, down = len(proxy.up), len(proxy.down)
    wait_until(lambda: len(proxy.down) > down, "a keepalive")
    assert (bytes(proxy.up[up : up + 2]), bytes(proxy.down[down : down + 2])) == (
        b"\xc0\x00",
        b"\xd0\x00",
    )
    link.close()
