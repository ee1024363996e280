"""Brings together what a deployment is weighed by: readings, time, use, and what was spent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, tzinfo

from fitment_agent.clock import LocalZone
from fitment_agent.conditions import Occasion, allowance_bytes, weigh
from fitment_agent.deployment import Deployment
from fitment_agent.deployment_events import Weighed
from fitment_agent.facts import FactsKeeper
from fitment_agent.foreground import is_in_use
from fitment_agent.spending import Spending
from fitment_agent.state import AgentState
from fitment_contract.base import utc_now


class Scales:
    """Weighs the deployments of one agent.

    Args:
        state: what is on the device already.
        facts: of the device.
        spending: what was transferred today.
        clock: tells the wall time.
        zone: makes the zone in which hours and days are told.
    """

    def __init__(
        self,
        state: AgentState,
        facts: FactsKeeper,
        spending: Spending,
        clock: Callable[[], datetime] = utc_now,
        zone: Callable[[], tzinfo] = LocalZone,
    ) -> None:
        self._state = state
        self._facts = facts
        self._spending = spending
        self._clock = clock
        self._zone = zone

    def weigh(self, deployment: Deployment) -> Weighed:
        """Whether it may go on now, with what is left to do."""
        conditions, around = deployment.assignment.conditions, self._facts.surroundings()
        return weigh(conditions, around, self._occasion(deployment), deployment.held_since)

    def allowance_bytes(self, deployment: Deployment) -> int | None:
        """How much it may transfer today; None for no limit."""
        conditions = deployment.assignment.conditions
        return allowance_bytes(conditions, self._occasion(deployment), deployment.held_since)

    def _occasion(self, deployment: Deployment) -> Occasion:
        blobs = self._state.blobs
        return Occasion(
            now=self._clock(),
            zone=self._zone(),
            needs_bytes=any(
                blobs.present_bytes([artifact]) < artifact.size_bytes
                for artifact in deployment.artifacts
            ),
            spent_bytes=self._spending.today_bytes(),
            in_foreground=is_in_use(self._state.state_dir),
        )
