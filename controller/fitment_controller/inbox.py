"""From payloads to the fleet service: decode, count what is wrong, hand over in batches.

Batches exist for the database: one transaction takes a hundred messages nearly as fast as one. A
message that cannot be decoded or handled costs itself and nothing else.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from fitment_contract.codec import decode
from fitment_contract.errors import ContractError, TopicError
from fitment_contract.messages import UpMessage
from fitment_contract.topics import Topics

_log = logging.getLogger(__name__)

INTERNAL: Final = "internal"
"""The reason under which a message is counted that the service failed on."""


class Fleet(Protocol):
    """What the gateway needs of the fleet service."""

    def receive(self, messages: Sequence[UpMessage]) -> None:
        """Handles a batch in one transaction."""

    def broker_connected(self) -> None:
        """Publishes all desired state: the broker may have lost everything."""

    def note_dropped(self, reason: str) -> None:
        """Counts a payload that never became a message."""


@dataclass(frozen=True)
class InboxLimits:
    """How much is gathered before it is handed over.

    Attributes:
        batch_count: messages of one transaction at most.
        batch_seconds: the first message of a batch waits this long at most.
        queue_count: payloads waiting to be decoded; beyond it the connection stops reading, and
            the broker holds the rest back.
    """

    batch_count: int = 256
    batch_seconds: float = 0.02
    queue_count: int = 20_000


class Inbox:
    """A worker thread between the connection and the service.

    Args:
        fleet: what takes the messages.
        topics: parses the topics.
        limits: sizes and times.
    """

    def __init__(self, fleet: Fleet, topics: Topics, limits: InboxLimits | None = None) -> None:
        self._fleet = fleet
        self._topics = topics
        self._limits = limits or InboxLimits()
        self._queue: queue.Queue[tuple[str, bytes] | None] = queue.Queue(self._limits.queue_count)
        self._failures: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)

    def start(self) -> None:
        """Begins to hand messages over."""
        self._thread.start()

    def put(self, topic: str, payload: bytes) -> None:
        """Takes a payload as received; blocks while the queue is full."""
        self._queue.put((topic, payload))

    def stop(self) -> None:
        """Hands over what was taken and ends."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        running = True
        while running:
            raw, running = self._gather()
            messages = [message for item in raw if (message := self._decode(*item)) is not None]
            if messages:
                self._deliver(messages)

    def _gather(self) -> tuple[list[tuple[str, bytes]], bool]:
        """The next batch of payloads, and whether there will be another."""
        batch: list[tuple[str, bytes]] = []
        deadline: float | None = None
        while len(batch) < self._limits.batch_count:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                item = self._queue.get(timeout=wait)
            except queue.Empty:
                break
            if item is None:
                return batch, False
            batch.append(item)
            deadline = deadline or time.monotonic() + self._limits.batch_seconds
        return batch, True

    def _decode(self, topic: str, payload: bytes) -> UpMessage | None:
        try:
            message = decode(self._topics.parse(topic), payload)
            if not isinstance(message, UpMessage):
                raise TopicError(f"{topic!r} does not go up")
        except ContractError as error:
            self._drop(error.reason, topic, error.detail)
            return None
        return message

    def _deliver(self, messages: Sequence[UpMessage]) -> None:
        try:
            self._fleet.receive(messages)
        except Exception:  # noqa: BLE001 - whatever one message does to the service, the others must arrive
            _log.exception("a batch of %d messages failed; trying each alone", len(messages))
            for message in messages:
                self._deliver_alone(message)

    def _deliver_alone(self, message: UpMessage) -> None:
        try:
            self._fleet.receive([message])
        except Exception as error:  # noqa: BLE001 - counted and logged; the device reports again
            where = f"{type(message).__name__} of {message.device}"
            self._drop(INTERNAL, where, f"{type(error).__name__}: {error}")

    def _drop(self, reason: str, where: str, detail: str) -> None:
        self._fleet.note_dropped(reason)
        self._failures[reason] += 1
        count = self._failures[reason]
        if count & (count - 1) == 0:  # at 1, 2, 4, 8...: a flood must not become a flood of lines
            _log.warning("dropped (%s, %d so far): %s: %s", reason, count, where, detail)
