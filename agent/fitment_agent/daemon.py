"""The daemon: one queue of events, one loop that decides and acts.

Everything that happens (messages, a worker's answers, signals, timers) is handled one after the
other on the main thread, so nothing here needs a lock. Nothing that arrives is fatal: messages
that do not follow the contract are counted, storage that fails is tried again.
"""

from __future__ import annotations

import logging
import queue
import signal
import time
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Any, Final

from fitment_agent import control
from fitment_agent.clock import JumpWatch
from fitment_agent.conductor import Conductor
from fitment_agent.errors import StorageError, UnknownModelError
from fitment_agent.facts import FactsKeeper
from fitment_agent.foreground import prepare
from fitment_agent.link import (
    KEEPALIVE_SECONDS,
    SAVING_KEEPALIVE_SECONDS,
    Backoff,
    Connected,
    Delivered,
    Disconnected,
    LinkEvent,
    Received,
)
from fitment_agent.memory import give_back
from fitment_agent.notify import Notifier
from fitment_agent.power_switch import PowerSwitch
from fitment_agent.reporting import Reporter
from fitment_agent.settings import Settings, service_manager
from fitment_agent.state import AgentState
from fitment_agent.timers import Timers
from fitment_agent.vitals import Pace
from fitment_agent.work import WorkerSaid
from fitment_contract.base import utc_now
from fitment_contract.benchmark import BenchmarkReport, SessionTuning
from fitment_contract.codec import decode
from fitment_contract.errors import ContractError, TopicError
from fitment_contract.messages import Command, CommandName, Desired, EventLevel, Message
from fitment_contract.topics import Topics

_log = logging.getLogger(__name__)

_STORAGE_RETRY_SECONDS: Final = 10.0
_STABLE_SECONDS: Final = 30.0
_POWER_SECONDS: Final = 0.5


class Wake(str, Enum):
    """What a signal puts into the queue."""

    STOP = "stop"
    REQUESTS = "requests"


Item = LinkEvent | WorkerSaid | Wake
Inbox = queue.SimpleQueue[Item]


class Daemon:
    """One agent at work.

    Args:
        settings: intervals and folders.
        state: journal, pointers and blobs.
        conductor: moves the deployments.
        reporter: speaks upward.
        facts: of the device.
        timers: for what comes later.
        backoff: pauses between attempts to reach the broker.
        topics: parses topics.
        inbox: where link, worker and signals put what happened.
    """

    def __init__(
        self,
        settings: Settings,
        state: AgentState,
        conductor: Conductor,
        reporter: Reporter,
        facts: FactsKeeper,
        timers: Timers,
        backoff: Backoff,
        topics: Topics,
        inbox: Inbox,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._state = state
        self._conductor = conductor
        self._reporter = reporter
        self._facts = facts
        self._timers = timers
        self._backoff = backoff
        self._topics = topics
        self._inbox = inbox
        self._clock = clock
        self._pace = Pace(
            settings.heartbeat_seconds,
            settings.heartbeat_max_seconds,
            settings.heartbeat_max_saving_seconds,
        )
        self._jumps = JumpWatch(clock)
        self._notifier = Notifier(service_manager())
        self._power = PowerSwitch(state)
        self._watches_power = False
        self._has_begun = False
        self._postponed: list[Callable[[], object]] = []
        self._stopping = False

    def run(self) -> None:
        """Work until told to stop.

        Raises:
            AlreadyRunningError: another agent holds the state directory.
        """
        lock = control.RunLock(self._settings.state_dir, self._settings.device_id)
        lock.acquire()
        self._listen_to_signals()
        try:
            self._start()
            while not self._stopping:
                self._turn()
        finally:
            self._stop()
            lock.release()

    def _listen_to_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._inbox.put(Wake.STOP))
        signal.signal(signal.SIGUSR1, lambda *_: self._inbox.put(Wake.REQUESTS))

    def _start(self) -> None:
        prepare(self._settings.state_dir)
        for fault in self._state.journal.faults:
            self._reporter.event(EventLevel.ERROR, "journal-fault", fault)
        after_crash = self._state.journal.begin_run()
        self._guarded(self._reconcile)
        self._guarded(partial(self._conductor.resume, after_crash))
        self._inbox.put(Wake.REQUESTS)
        self._notifier.ready()
        self._say_alive()

    def _stop(self) -> None:
        self._notifier.stopping()
        self._conductor.stop()
        self._reporter.goodbye("stopped")
        self._state.journal.end_run()
        self._state.journal.close()

    def _turn(self) -> None:
        """Wait for the next thing to happen and deal with it and all that follows from it."""
        try:
            item = self._inbox.get(timeout=self._timers.seconds_to_next())
        except queue.Empty:
            item = None
        self._guarded(self._watch_clock)  # first: what follows reads the clock
        if item is not None:
            self._guarded(partial(self._handle, item))
        for call in self._timers.take_due():
            self._guarded(call)
        self._guarded(self._conduct, again=False)

    def _conduct(self) -> None:
        self._guarded(self._conductor.pump, again=False)
        if self._facts.are_complete and not self._has_begun:
            self._connect()
        self._watch_power()
        if self._inbox.empty():  # coalesced: what comes at once is said at once
            self._reporter.reported(self._state)

    def _guarded(self, call: Callable[[], object], again: bool = True) -> None:
        """Do it; what the storage refuses is done again later, and a bug costs one event."""
        try:
            call()
        except StorageError as error:
            self._reporter.count("storage-failed", "storage", error.detail)
            if again:
                self._postponed.append(call)
            if not self._timers.is_set("storage"):  # frequent faults must not put it off for ever
                self._timers.after(_STORAGE_RETRY_SECONDS, "storage", self._do_postponed)
        except ContractError as error:
            self._reporter.count("message-rejected", error.reason, error.detail)
        except Exception as error:  # noqa: BLE001 - an agent that ends on a bug ends in a fleet
            _log.exception("unexpected")
            self._reporter.count("internal-error", type(error).__name__, str(error))

    def _do_postponed(self) -> None:
        postponed, self._postponed = self._postponed, []
        for call in dict.fromkeys((self._reconcile, *postponed)):
            self._guarded(call)
        self._conductor.take_up()

    def _reconcile(self) -> None:
        for mended in self._state.reconcile():
            self._reporter.event(EventLevel.WARNING, "state-mended", mended)

    def _handle(self, item: Item) -> None:
        if isinstance(item, WorkerSaid):
            if self._conductor.take(item):
                give_back()
        elif isinstance(item, Received):
            self._receive(item)
        elif isinstance(item, Wake):
            self._wake(item)
        elif _session_of(item) == self._reporter.session:
            self._follow_link(item)

    def _follow_link(self, event: Any) -> None:
        if isinstance(event, Connected):
            _log.info("connected, session %d", event.session)
            self._pace.restart(time.monotonic())
            self._timers.after(_STABLE_SECONDS, "stable", self._backoff.reset)
            self._look_again()
            self._conductor.heard()
            self._reporter.greet(self._facts.facts(), self._state, self._pace.interval_seconds)
        elif isinstance(event, Delivered):
            self._conductor.heard()
            self._reporter.delivered(event.message_id)
        elif isinstance(event, Disconnected):
            self._reporter.lost()
            self._timers.cancel("stable")
            self._timers.cancel("beat")
            pause = self._backoff.next_seconds()
            _log.warning("%s; the next attempt is in %.1f s", event.reason, pause)
            self._timers.after(pause, "connect", self._connect)

    def _connect(self) -> None:
        self._has_begun = True
        # First: of an attempt that cannot even be begun nobody says that it ended.
        self._timers.after(self._settings.reconnect_max_seconds, "connect", self._connect)
        saving = self._facts.surroundings().must_save
        self._reporter.connect(SAVING_KEEPALIVE_SECONDS if saving else KEEPALIVE_SECONDS)
        self._timers.cancel("connect")

    def _receive(self, received: Received) -> None:
        topic = self._topics.parse(received.topic)
        if topic.device != self._settings.device_id:
            raise TopicError(f"{received.topic!r} is for another device")
        message: Message = decode(topic, received.payload)
        if isinstance(message, Desired):
            self._desire(message)
        elif isinstance(message, Command):
            self._command(message)

    def _desire(self, desired: Desired) -> None:
        if desired.generation < self._state.generation:
            detail = f"{desired.generation} after {self._state.generation}"
            self._reporter.count("message-rejected", "stale_generation", detail)
        elif desired.generation > self._state.generation:
            self._conductor.accept(desired)

    def _command(self, command: Command) -> None:
        if command.expires_at is not None and command.expires_at <= self._clock():
            return
        if command.name is CommandName.REPORT:
            self._pace.restart(time.monotonic())
            self._reporter.birth(self._facts.facts(), self._state, self._pace.interval_seconds)
        elif command.name is CommandName.BENCHMARK and command.model is not None:
            refusal = self._conductor.benchmark(command.model, command.mode)
            if refusal is not None:
                self._reporter.event(EventLevel.WARNING, "benchmark-failed", refusal)

    def _wake(self, wake: Wake) -> None:
        if wake is Wake.STOP:
            self._stopping = True
        else:
            control.answer_requests(self._settings.state_dir, self._request)

    def _request(self, request: dict[str, Any]) -> None:
        command, model = request.get("command"), str(request.get("model"))
        if command == "rollback":
            self._conductor.withdraw(model, "rolled back on the device")
        elif command == "tuned":
            self._state.tuned(model, SessionTuning.model_validate_json(str(request.get("tuning"))))
        else:
            raise UnknownModelError("The request is unknown to the agent.", "Restart the agent.")

    def _beat(self) -> None:
        told = self._pace.look(self._facts.surroundings(), time.monotonic())
        if told is not None:
            self._reporter.vitals(self._state, told)
        self._look_again()

    def _look_again(self) -> None:
        seconds = self._pace.seconds_to_next_look(time.monotonic())
        self._timers.after(seconds, "beat", self._beat)

    def _watch_clock(self) -> None:
        seconds = self._jumps.jumped_seconds()
        if seconds:
            self._conductor.turn_clock(seconds)
            detail = f"by {seconds:+.0f} s; what waits goes on waiting as long as it would have"
            self._reporter.event(EventLevel.INFO, "clock-turned", detail)

    def _watch_power(self) -> None:
        """Look at energy and heat, often, but only while some model has a second variant."""
        if self._power.is_needed and not self._watches_power:
            self._watches_power = True
            self._timers.after(0.0, "power", self._look_at_power)

    def _look_at_power(self) -> None:
        self._watches_power = self._power.is_needed
        if self._watches_power:
            self._timers.after(_POWER_SECONDS, "power", self._look_at_power)
            self._guarded(self._adapt_to_power, again=False)

    def _adapt_to_power(self) -> None:
        for switch in self._power.adapt(self._facts.surroundings()):
            detail = f"{switch.model} uses {switch.variant}: {switch.detail}"
            self._reporter.event(EventLevel.INFO, "power-switch", detail)

    def _say_alive(self) -> None:
        if self._notifier.alive_seconds is not None:
            self._notifier.alive()
            self._timers.after(self._notifier.alive_seconds, "alive", self._say_alive)


def say_benchmark(reporter: Reporter, answer: BenchmarkReport | str) -> None:
    """Send a benchmark that was asked for, or why there is none."""
    if isinstance(answer, BenchmarkReport):
        reporter.bench(answer)
    else:
        reporter.event(EventLevel.WARNING, "benchmark-failed", answer)


def _session_of(event: LinkEvent) -> int | None:
    """The session that an event of the link belongs to."""
    return None if isinstance(event, Received) else event.session
