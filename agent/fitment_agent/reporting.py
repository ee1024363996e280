"""What the agent says: every upward message gets its session and sequence number here.

State (birth, reported, vitals) is said when there is a connection and otherwise not at all: the
next birth says it whole. Benchmarks and events happen once, so they wait in the journal's outbox
until the broker has acknowledged them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from fitment_agent.errors import StorageError
from fitment_agent.journal import Journal
from fitment_agent.link import KEEPALIVE_SECONDS, Link
from fitment_agent.state import AgentState
from fitment_agent.vitals import Told
from fitment_contract.base import utc_now
from fitment_contract.benchmark import BenchmarkReport
from fitment_contract.codec import channel_of, encode
from fitment_contract.device import DeviceFacts
from fitment_contract.errors import OversizedMessageError
from fitment_contract.messages import (
    Bench,
    Birth,
    Death,
    Event,
    EventLevel,
    ModelState,
    Reported,
    UpMessage,
    Vitals,
)
from fitment_contract.topics import DownChannel, Topics, UpChannel

_log = logging.getLogger(__name__)

_IN_FLIGHT_LIMIT: Final = 20
_REPEAT_SECONDS: Final = 60.0
_KEPT: Final[dict[str, type[Bench] | type[Event]]] = {"bench": Bench, "event": Event}


class Reporter:
    """Speaks for one device.

    Args:
        device: its id.
        agent_version: of this software.
        topics: spells the topics.
        link: carries the messages.
        journal: session numbers and outbox.
    """

    def __init__(
        self,
        device: str,
        agent_version: str,
        topics: Topics,
        link: Link,
        journal: Journal,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._device = device
        self._agent_version = agent_version
        self._topics = topics
        self._link = link
        self._journal = journal
        self._clock = clock
        self._started = time.monotonic()
        self._sequence = 0
        self._in_flight: dict[int, int] = {}  # message id at the broker -> outbox id
        self._reported: str | None = None
        self._reported_version = -1  # of the state that was looked at last
        self._counts: dict[str, int] = {}
        self._said: dict[str, float] = {}
        self.session = 0
        self.is_connected = False

    def connect(self, keepalive_seconds: int = KEEPALIVE_SECONDS) -> None:
        """Begin a new session with its own will."""
        self.session = self._journal.next_session()
        self._sequence = 0
        will = Death(
            device=self._device,
            sent_at=self._clock(),
            session=self.session,
            sequence=0,  # it is written first and sent last; only its session counts
            reason="connection lost",
        )
        topic = self._topics.up(self._device, UpChannel.DEATH)
        self._link.connect(self.session, topic, encode(will), keepalive_seconds)

    def greet(self, facts: DeviceFacts, state: AgentState, interval_seconds: float) -> None:
        """Say birth first, then ask for what is wanted, then say what was kept."""
        self.is_connected = True
        self._reported_version = -1
        self._in_flight.clear()
        self.birth(facts, state, interval_seconds)
        for channel in (DownChannel.DESIRED, DownChannel.COMMAND):
            self._link.subscribe(self._topics.down(self._device, channel))
        self.flush()

    def birth(self, facts: DeviceFacts, state: AgentState, interval_seconds: float) -> None:
        """Say everything: facts and full state, and within what time the next vitals come."""
        models = state.model_states()
        birth = Birth(
            **self._head(),
            agent_version=self._agent_version,
            facts=facts,
            generation=state.generation,
            models=models,
            state_digest=state.digest(),
            interval_seconds=interval_seconds,
        )
        if self._publish(birth) is not None:
            self._reported = state.digest()

    def reported(self, state: AgentState) -> None:
        """Say the state, unless it was said already."""
        if not self.is_connected or state.version == self._reported_version:
            return
        digest = state.digest()
        version = state.version
        if digest == self._reported:
            self._reported_version = version
            return
        message = Reported(
            **self._head(),
            generation=state.generation,
            models=state.model_states(),
            state_digest=digest,
        )
        if self._publish(message) is not None:
            self._reported, self._reported_version = digest, version

    def vitals(self, state: AgentState, told: Told) -> None:
        """Say that the device lives, and how."""
        if not self.is_connected:
            return
        vitals = Vitals(
            **self._head(),
            state_digest=state.digest(),
            uptime_seconds=round(time.monotonic() - self._started),
            interval_seconds=told.interval_seconds,
            **vars(told.readings),
        )
        self._publish(vitals)

    def bench(self, report: BenchmarkReport) -> None:
        """Say a benchmark outside a deployment; kept until it arrived."""
        self._keep("bench", {"report": report.model_dump(mode="json", exclude_none=True)})

    def event(self, level: EventLevel, name: str, detail: str = "") -> None:
        """Say something for the fleet's log; kept until it arrived."""
        _log.log(logging.getLevelName(level.value.upper()), "%s: %s", name, detail)
        self._keep("event", {"level": level.value, "name": name, "detail": detail})

    def count(self, name: str, reason: str, detail: str) -> None:
        """Count a fault; the first is said, then at most one a minute with how many there were."""
        key = f"{name}.{reason}"
        self._counts[key] = self._counts.get(key, 0) + 1
        now = time.monotonic()
        if now - self._said.get(key, -_REPEAT_SECONDS) < _REPEAT_SECONDS:
            return
        self._said[key] = now
        many = f" ({self._counts[key]} so far)" if self._counts[key] > 1 else ""
        self.event(EventLevel.WARNING, name, f"{reason}{many}: {detail}")

    def counted(self, name: str, reason: str) -> int:
        """How often a fault was counted."""
        return self._counts.get(f"{name}.{reason}", 0)

    def flush(self) -> None:
        """Send what the outbox holds and is not under way."""
        if not self.is_connected:
            return
        under_way = set(self._in_flight.values())
        for item in self._journal.outbox():
            if len(self._in_flight) >= _IN_FLIGHT_LIMIT:
                return
            if item.id not in under_way:
                message_id = self._publish(self._made(item.channel, item.body))
                if message_id is not None:
                    self._in_flight[message_id] = item.id

    def delivered(self, message_id: int) -> None:
        """The broker acknowledged a message."""
        item = self._in_flight.pop(message_id, None)
        if item is not None:
            self._journal.acknowledge(item)
            if not self._in_flight:
                self.flush()

    def lost(self) -> None:
        """The connection is gone."""
        self.is_connected = False
        self._in_flight.clear()

    def goodbye(self, reason: str) -> None:
        """Say that the agent stops by itself, and leave."""
        if self.is_connected:
            self._publish(Death(**self._head(), reason=reason))
        self._link.close()

    def _keep(self, channel: str, body: Mapping[str, Any]) -> None:
        kept = {**body, "sent_at": self._clock().isoformat()}
        try:
            self._journal.put_out(channel, kept)
        except StorageError as error:
            _log.error("%s", error)
            if self.is_connected:  # not kept, but said: how else would a full disk be known
                self._publish(self._made(channel, kept))
            return
        self.flush()

    def _made(self, channel: str, body: Mapping[str, Any]) -> UpMessage:
        return _KEPT[channel].model_validate({**self._head(), **body})

    def _head(self) -> dict[str, Any]:
        self._sequence += 1
        return {
            "device": self._device,
            "sent_at": self._clock(),
            "session": self.session,
            "sequence": self._sequence,
        }

    def _publish(self, message: UpMessage) -> int | None:
        try:
            payload = encode_to_fit(message)
        except OversizedMessageError as error:
            _log.error("not sent: %s", error)
            return None
        channel = channel_of(message)
        assert isinstance(channel, UpChannel)
        return self._link.publish(self._topics.up(self._device, channel), payload)


def encode_to_fit(message: UpMessage) -> bytes:
    """The payload; a state too large to send goes without its slices rather than not at all.

    Raises:
        OversizedMessageError: it is too large all the same.
    """
    try:
        return encode(message)
    except OversizedMessageError:
        if not isinstance(message, Birth | Reported):
            raise
    lean = tuple(_without_slices(model) for model in message.models)
    return encode(message.model_copy(update={"models": lean}))


def _without_slices(model: ModelState) -> ModelState:
    reports = {
        "benchmark": model.benchmark,
        "low_power_benchmark": model.low_power_benchmark,
    }
    return model.model_copy(
        update={name: _lean(report) for name, report in reports.items() if report is not None}
    )


def _lean(report: BenchmarkReport) -> BenchmarkReport:
    scores = tuple(one.model_copy(update={"slices": {}}) for one in report.scores)
    return report.model_copy(update={"scores": scores})
