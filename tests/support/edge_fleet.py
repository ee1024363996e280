"""A fleet that only remembers, and messages to send to it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence

from fitment_contract.base import sha256_hex, utc_now
from fitment_contract.codec import channel_of, encode
from fitment_contract.messages import Desired, UpMessage, Vitals
from fitment_contract.topics import UpChannel
from support.edge_mqtt import TOPICS


class RememberingFleet:
    """Implements the gateway's `Fleet`; `fails` decides which messages it chokes on."""

    def __init__(self, fails: Callable[[UpMessage], bool] = lambda message: False) -> None:
        self.batches: list[list[UpMessage]] = []
        self.dropped: Counter[str] = Counter()
        self.connections = 0
        self.on_connected: Callable[[], None] = lambda: None
        self._fails = fails
        self._lock = threading.Lock()

    def receive(self, messages: Sequence[UpMessage]) -> None:
        for message in messages:
            if self._fails(message):
                raise RuntimeError(f"choked on {message.device}")
        with self._lock:
            self.batches.append(list(messages))

    def broker_connected(self) -> None:
        self.connections += 1
        self.on_connected()

    def note_dropped(self, reason: str) -> None:
        with self._lock:
            self.dropped[reason] += 1

    @property
    def messages(self) -> list[UpMessage]:
        with self._lock:
            return [message for batch in self.batches for message in batch]


def vitals(device: str, sequence: int = 1) -> Vitals:
    return Vitals(
        device=device,
        sent_at=utc_now(),
        session=1,
        sequence=sequence,
        state_digest=sha256_hex(b"state"),
        uptime_seconds=1.0,
    )


def desired(device: str, generation: int) -> Desired:
    return Desired(device=device, sent_at=utc_now(), generation=generation)


def wire(message: UpMessage) -> tuple[str, bytes]:
    """Topic and payload of a message from a device."""
    channel = channel_of(message)
    assert isinstance(channel, UpChannel)
    return TOPICS.up(message.device, channel), encode(message)
