"""What arrives is decoded, batched and handed over; what is wrong is counted and costs itself."""

from __future__ import annotations

import json
import logging
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitment_contract.codec import MAX_MESSAGE_BYTES
from fitment_contract.messages import UpMessage
from fitment_contract.topics import DownChannel, UpChannel
from fitment_controller.inbox import Inbox, InboxLimits
from support.edge_fleet import RememberingFleet, vitals, wire
from support.edge_mqtt import TOPICS, wait_for


def take_in(fleet: RememberingFleet, *raw: tuple[str, bytes]) -> None:
    """Everything given passes through an inbox that is then stopped."""
    inbox = Inbox(fleet, TOPICS)
    inbox.start()
    for topic, payload in raw:
        inbox.put(topic, payload)
    inbox.stop()


def changed(**fields: object) -> bytes:
    return json.dumps({**json.loads(wire(vitals("pi"))[1]), **fields}).encode()


VITALS = TOPICS.up("pi", UpChannel.VITALS)


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        (VITALS, b"not json", "malformed"),
        (VITALS, b"", "malformed"),
        (VITALS, b"[]", "malformed"),
        (VITALS, changed(session=-1), "malformed"),
        (VITALS, b" " * (MAX_MESSAGE_BYTES + 1), "oversized"),
        (VITALS, changed(version=99), "unknown_version"),
        (VITALS, changed(type="poem"), "unknown_type"),
        (VITALS, changed(device="other"), "topic"),
        ("fitment/v1/up/pi/poem", b"{}", "topic"),
        ("elsewhere", b"{}", "topic"),
        (
            TOPICS.down("pi", DownChannel.COMMAND),
            b'{"version":1,"type":"command","device":"pi","id":"1","name":"report",'
            b'"sent_at":"2026-01-01T00:00:00Z"}',
            "topic",
        ),
    ],
)
def test_a_wrong_message_is_counted_and_its_neighbours_arrive(
    topic: str, payload: bytes, reason: str
) -> None:
    fleet = RememberingFleet()
    before, after = vitals("pi-1"), vitals("pi-2")
    take_in(fleet, wire(before), (topic, payload), wire(after))
    assert fleet.messages == [before, after]
    assert fleet.dropped == {reason: 1}


def test_a_message_that_the_service_fails_on_does_not_drop_its_batch() -> None:
    fleet = RememberingFleet(fails=lambda message: message.device == "pi-3")
    sent = [vitals(f"pi-{number}") for number in range(6)]
    take_in(fleet, *map(wire, sent))
    assert fleet.messages == [message for message in sent if message.device != "pi-3"]
    assert fleet.dropped == {"internal": 1}


def test_messages_that_wait_together_are_one_batch() -> None:
    """While the service is busy with the first, the rest gather."""
    gate, entered = threading.Event(), threading.Event()

    def block_first(message: UpMessage) -> bool:
        entered.set()
        gate.wait(20)
        return False

    fleet = RememberingFleet(fails=block_first)
    inbox = Inbox(fleet, TOPICS, InboxLimits(batch_count=10, batch_seconds=0.0))
    inbox.start()
    inbox.put(*wire(vitals("first")))
    assert entered.wait(20)
    for number in range(25):
        inbox.put(*wire(vitals(f"pi-{number}")))
    gate.set()
    inbox.stop()
    assert [len(batch) for batch in fleet.batches] == [1, 10, 10, 5]


def test_stopping_hands_over_what_was_taken() -> None:
    fleet = RememberingFleet()
    sent = [vitals("pi", sequence) for sequence in range(1000)]
    take_in(fleet, *map(wire, sent))
    assert fleet.messages == sent


def test_a_flood_of_wrong_messages_is_not_a_flood_of_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fleet = RememberingFleet()
    with caplog.at_level(logging.WARNING):
        take_in(fleet, *[(VITALS, b"noise")] * 1000)
    assert fleet.dropped == {"malformed": 1000}
    assert len(caplog.records) == 10  # at 1, 2, 4 ... 512


def test_a_full_queue_holds_the_connection_back() -> None:
    gate = threading.Event()
    fleet = RememberingFleet(fails=lambda message: not gate.wait(20))
    inbox = Inbox(fleet, TOPICS, InboxLimits(batch_count=1, queue_count=2))
    inbox.start()
    done = threading.Event()

    def connection() -> None:
        for number in range(8):
            inbox.put(*wire(vitals("pi", number)))
        done.set()

    thread = threading.Thread(target=connection)
    thread.start()
    wait_for(lambda: inbox._queue.full(), "a full queue")
    assert not done.is_set()
    gate.set()
    thread.join()
    inbox.stop()
    assert len(fleet.messages) == 8


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.text(max_size=40), st.binary(max_size=80)), max_size=20))
def test_no_noise_is_fatal(noise: list[tuple[str, bytes]]) -> None:
    fleet = RememberingFleet()
    logging.getLogger("fitment_controller.inbox").setLevel(logging.ERROR)
    take_in(fleet, *noise, wire(vitals("pi")))
    assert [message.device for message in fleet.messages] == ["pi"]
    assert sum(fleet.dropped.values()) == len(noise)
