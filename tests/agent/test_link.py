"""The link against a real broker: wills by session, clean goodbyes, bounded backoff."""

from __future__ import annotations

import queue
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_agent.link import (
    Backoff,
    BrokerAddress,
    Connected,
    Delivered,
    Disconnected,
    LinkEvent,
    PahoLink,
    Received,
)
from fitment_agent.timers import Timers
from support.agent_lab import LabBroker, free_port

Events = queue.SimpleQueue[LinkEvent]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LabBroker]:
    broker = LabBroker(tmp_path)
    broker.start()
    yield broker
    broker.stop()


def make_link(port: int, name: str) -> tuple[PahoLink, Events]:
    events: Events = queue.SimpleQueue()
    return PahoLink(BrokerAddress("127.0.0.1", port, tls=False), name, events.put), events


def listener(port: int) -> tuple[PahoLink, Events]:
    link, events = make_link(port, "listener")
    link.connect(1, "wills/listener", b"")
    assert events.get(timeout=20) == Connected(1)
    link.subscribe("wills/device")
    link.subscribe("said")
    # Its own message comes back once the subscriptions stand.
    message_id = link.publish("said", b"ready")
    assert message_id is not None
    came = {events.get(timeout=20), events.get(timeout=20)}
    assert came == {Received("said", b"ready"), Delivered(1, message_id)}
    return link, events


def test_a_message_is_delivered_and_acknowledged(broker: LabBroker) -> None:
    hearing, heard = listener(broker.port)
    link, events = make_link(broker.port, "device")
    link.connect(7, "wills/device", b"7")
    assert events.get(timeout=20) == Connected(7)
    message_id = link.publish("said", b"hello")
    assert message_id is not None
    assert events.get(timeout=20) == Delivered(7, message_id)
    assert heard.get(timeout=20) == Received("said", b"hello")
    link.close()
    hearing.close()


def cut(link: PahoLink) -> None:
    """End the TCP connection as a network would: without a word."""
    assert link._client is not None
    connection = link._client.socket()
    assert connection is not None
    connection.shutdown(socket.SHUT_RDWR)


def test_the_will_is_of_the_very_session_and_a_goodbye_has_none(broker: LabBroker) -> None:
    hearing, heard = listener(broker.port)
    link, events = make_link(broker.port, "device")
    for session in (1, 2):
        link.connect(session, "wills/device", str(session).encode())
        assert events.get(timeout=20) == Connected(session)
        cut(link)
        lost = events.get(timeout=20)
        assert isinstance(lost, Disconnected)
        assert lost.session == session
        assert heard.get(timeout=20) == Received("wills/device", str(session).encode())

    link.connect(3, "wills/device", b"3")
    assert events.get(timeout=20) == Connected(3)
    link.publish("said", b"goodbye")
    link.close()
    assert heard.get(timeout=20) == Received("said", b"goodbye")
    assert heard.empty()
    hearing.close()


def test_a_broker_that_is_not_there_ends_the_attempt(tmp_path: Path) -> None:
    link, events = make_link(free_port(), "device")
    link.connect(3, "wills/device", b"3")
    ended = events.get(timeout=20)
    assert isinstance(ended, Disconnected)
    assert (ended.session, "Refused" in ended.reason) == (3, True)
    assert link.publish("said", b"nobody hears") is None


def test_a_link_connects_again_after_the_broker_came_back(broker: LabBroker) -> None:
    link, events = make_link(broker.port, "device")
    link.connect(1, "wills/device", b"1")
    assert events.get(timeout=20) == Connected(1)
    broker.stop()
    assert isinstance(events.get(timeout=20), Disconnected)
    broker.start()
    link.connect(2, "wills/device", b"2")
    assert events.get(timeout=20) == Connected(2)
    link.close()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://host", ("host", 1883, False, None)),
        ("mqtts://a%40b@host", ("host", 8883, True, "a@b")),
        ("mqtt://[::1]:2000", ("::1", 2000, False, None)),
    ],
)
def test_addresses(url: str, expected: tuple[str, int, bool, str | None]) -> None:
    address = BrokerAddress.parse(url, "hunter2", None)
    assert (address.host, address.port, address.tls, address.username) == expected
    assert "hunter2" not in repr(address)


@given(st.integers(1, 100), st.floats(0.01, 10), st.floats(0, 1000), st.floats(0, 1))
def test_pauses_stay_within_their_bounds(
    attempts: int, least: float, more: float, draw: float
) -> None:
    backoff = Backoff(least, least + more, uniform=lambda low, high: low + (high - low) * draw)
    for _ in range(attempts):
        assert least <= backoff.next_seconds() <= least + more + 1e-9


def test_pauses_grow_until_a_connection_stood() -> None:
    backoff = Backoff(1.0, 60.0, uniform=lambda _, high: high)
    assert [backoff.next_seconds() for _ in range(7)] == [2, 4, 8, 16, 32, 60, 60]
    backoff.reset()
    assert backoff.next_seconds() == 2


def test_timers_fire_in_order_and_once() -> None:
    now = [100.0]
    timers, fired = Timers(clock=lambda: now[0]), list[str]()
    timers.after(5, "b", lambda: fired.append("b"))
    timers.after(1, "a", lambda: fired.append("a"))
    timers.after(9, "c", lambda: fired.append("never"))
    timers.after(2, "c", lambda: fired.append("c"))
    timers.after(3, "d", lambda: fired.append("never"))
    timers.cancel("d")
    assert timers.seconds_to_next() == 1
    now[0] += 6
    for call in timers.take_due():
        call()
    assert fired == ["a", "c", "b"]
    assert timers.seconds_to_next() is None
