"""The timed pass, begun again while the machine changes under it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fitment_contract.benchmark import BenchmarkMode, BenchmarkProtocol, Conditions, EnergyUse
from fitment_runtime.conditions import conditions_between, snapshot, throttled_now
from fitment_runtime.energy import find_meter, measure_energy
from fitment_runtime.latency import Timing, time_inferences
from fitment_runtime.session import Session, SessionOptions
from fitment_runtime.turns import own_turn
from fitment_runtime.validity import Terms, fault_of

if TYPE_CHECKING:
    from fitment_runtime.session import Array

_log = logging.getLogger(__name__)

_TURN_SHARE: Final = 0.25
"""Of what is left of the wall limit: how long to wait for others who measure on this machine."""

_REST_SHARE: Final = 0.5
"""Of what is left of the wall limit: kept for what comes after timing."""

_COOL_DOWN_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.5


@dataclass(frozen=True)
class Timed:
    """The timed pass that counts: the first without a fault, else the last.

    Attributes:
        attempts: how many were begun.
        fault: why it proves nothing; None when it does.
        energy: only of a full benchmark without a fault, where there is a meter.
    """

    timing: Timing
    conditions: Conditions
    attempts: int
    fault: str | None
    energy: EnergyUse | None


def time_steadily(
    session: Session,
    feeds: Sequence[Mapping[str, Array]],
    protocol: BenchmarkProtocol,
    options: SessionOptions,
    deadline: float,
    root: Path,
    tell: Callable[[str, int, int], None],
) -> Timed:
    """Time until nothing changed under it, as often as the protocol and the time allow.

    Args:
        session: the loaded model.
        feeds: inputs, cycled through; at least one.
        protocol: the terms.
        options: with which the session was loaded.
        deadline: of `time.monotonic`, when the wall limit is over.
        root: where the machine's files are.
        tell: called with (stage, done, total).

    Raises:
        InferenceFailure: an inference failed.
    """
    terms = Terms(protocol.mode, one_thread=options.threads == 1 and not options.providers)
    attempt = 1
    while True:
        tell("latency", attempt - 1, protocol.attempts)
        with own_turn((deadline - time.monotonic()) * _TURN_SHARE):
            before = snapshot(root)
            timing = time_inferences(session, feeds, protocol)
            after = snapshot(root)
            fault = fault_of(before, after, timing, terms)
            room = (deadline - time.monotonic()) * _REST_SHARE
            if fault is None or attempt == protocol.attempts or room < timing.wall_seconds:
                share = timing.cpu_share if terms.one_thread else None
                found = conditions_between(before, after, protocol.threads, root, share)
                energy = None
                if fault is None and protocol.mode is BenchmarkMode.FULL:
                    energy = _energy(session, feeds, root, room, tell)
                return Timed(timing, found, attempt, fault, energy)
        _log.warning("timing begins again: %s", fault)
        _cool_down(root, min(_COOL_DOWN_SECONDS, room - timing.wall_seconds))
        attempt += 1


def _energy(
    session: Session,
    feeds: Sequence[Mapping[str, Array]],
    root: Path,
    limit_seconds: float,
    tell: Callable[[str, int, int], None],
) -> EnergyUse | None:
    meter = find_meter(root)
    if meter is None or limit_seconds <= 0:
        return None
    tell("energy", 0, 1)
    inputs = cycle(feeds)
    return measure_energy(meter, lambda: session.run(next(inputs)), limit_seconds)


def _cool_down(root: Path, seconds: float) -> None:
    """Let a machine that is throttled now recover before the next attempt, for a while."""
    end = time.monotonic() + seconds
    while throttled_now(snapshot(root)) and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
