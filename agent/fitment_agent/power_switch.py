"""Keeps every model with two variants on the one that suits the device as it is now."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fitment_agent.conditions import Surroundings
from fitment_agent.power_mode import PowerState, adapt, reason
from fitment_agent.state import AgentState
from fitment_contract.messages import LowPower, PowerMode


@dataclass(frozen=True)
class Switch:
    """Applications were pointed at the other variant of a pair.

    Attributes:
        variant: that is in use now.
        detail: why, in words for people.
    """

    model: str
    mode: PowerMode
    variant: str
    detail: str


class PowerSwitch:
    """Watches the limits of pairs.

    Args:
        state: of the agent. Only pointers change through it, and they say what is in use; the
            latches are kept here and are found again after a restart.
    """

    def __init__(self, state: AgentState) -> None:
        self._state = state
        self._version = -1
        self._limits: dict[str, LowPower | None] = {}
        self._latches: dict[str, PowerState] = {}

    @property
    def is_needed(self) -> bool:
        """Whether any model has a second variant, so that power is worth looking at."""
        self._catch_up()
        return bool(self._limits)

    def adapt(self, around: Surroundings) -> list[Switch]:
        """Point applications at the variants that suit the device; what was switched.

        Cheap while nothing changes: it may be called several times a second.

        Raises:
            StorageError: a pointer cannot be written, or a file is gone.
        """
        self._catch_up()
        switches = []
        for model, limits in self._limits.items():
            now = self._latches[model]
            then = adapt(now, limits, around) if limits else PowerState()
            if then.mode is not now.mode and self._state.switch(model, then.mode):
                why = reason(then, limits, around) if limits else "its limits are not known"
                pointer = self._state.pointers.read(model)
                variant = pointer.current.variant if pointer else ""
                switches.append(Switch(model, then.mode, variant, why))
            self._latches[model] = then
        return switches

    def _catch_up(self) -> None:
        """Look at the pointers again if they may have changed."""
        if self._version == self._state.version:
            return
        before, self._limits, self._latches = self._latches, {}, {}
        for model, pointer in self._state.pointers.all().items():
            if pointer.active.low_power is None:
                continue
            self._limits[model] = self._state.limits_of(model, pointer.active)
            mode = PowerMode(pointer.active.mode)
            self._latches[model] = replace(before.get(model, PowerState()), mode=mode)
        self._version = self._state.version
