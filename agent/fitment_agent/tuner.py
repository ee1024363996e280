"""When what is active is tuned: by and by, while the device has nothing else to do.

Tuning costs a minute of all cores. So it waits until nothing was deployed for a while, and for
energy and coolness to be had; and whatever else comes up interrupts it, because it can be done
again. Each variant is tuned once per fingerprint.
"""

from __future__ import annotations

import logging

from fitment_agent.facts import FactsKeeper
from fitment_agent.foreground import is_in_use
from fitment_agent.settings import Settings
from fitment_agent.state import AgentState
from fitment_agent.timers import Timers
from fitment_agent.worker.jobs import FinalEvent, TuneDone, WorkerFailed
from fitment_contract.device import DeviceFacts
from fitment_contract.messages import Assignment

_log = logging.getLogger(__name__)


class Tuner:
    """Chooses what to tune, and takes what was found.

    Args:
        state: what is active and tuned already.
        facts: of the device.
        timers: for the pause before tuning.
        settings: whether and after how long.
    """

    def __init__(
        self, state: AgentState, facts: FactsKeeper, timers: Timers, settings: Settings
    ) -> None:
        self._state = state
        self._facts = facts
        self._timers = timers
        self._settings = settings
        self._is_time = False
        self._failed: set[str] = set()  # digests; tried again when the agent is started anew

    def wait(self) -> None:
        """Begin the pause anew: something was done just now."""
        self._is_time = False
        if self._settings.auto_tune:
            self._timers.after(self._settings.tune_after_seconds, "tune", self._wake)

    def next(self) -> tuple[Assignment, DeviceFacts] | None:
        """What to tune now, and where; None when nothing is to be tuned, or not now."""
        if not self._is_time:
            return None
        self._is_time = False
        facts = self._facts.facts()
        if facts.simulated:  # declared hardware says nothing about this machine's cores
            return None
        found = self._untuned(facts.fingerprint)
        if found is not None and self._must_rest():
            self.wait()
            return None
        return (found, facts) if found is not None else None

    def take(self, model: str, digest: str, event: FinalEvent) -> None:
        """Hand over what was found; what failed is left as it is."""
        if isinstance(event, TuneDone):
            self._state.tuned(model, event.tuning)
        else:
            self._failed.add(digest)
            why = event.detail if isinstance(event, WorkerFailed) else "it gave another answer"
            _log.warning("%s was not tuned: %s", model, why)
        self._is_time = True  # for the next one

    def _wake(self) -> None:
        self._is_time = True

    def _untuned(self, fingerprint: str) -> Assignment | None:
        for model in self._state.untuned(fingerprint):
            proof = self._state.active_proof(model)
            if proof is not None and proof.assignment.variant.digest not in self._failed:
                return proof.assignment
        return None

    def _must_rest(self) -> bool:
        around = self._facts.surroundings()
        return around.must_save or bool(around.throttled) or is_in_use(self._state.state_dir)
