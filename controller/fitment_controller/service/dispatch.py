"""Decided actions to desired states, and desired states to the broker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from fitment_contract.benchmark import BenchmarkReport
from fitment_contract.errors import ContractError
from fitment_contract.messages import DeployConditions
from fitment_contract.phase import Phase
from fitment_contract.portfolio import Portfolio
from fitment_controller.decisions.desired import Delivery, assign, message, withdraw
from fitment_controller.decisions.evidence import usable
from fitment_controller.decisions.members import Observation, lacks_measurement
from fitment_controller.decisions.rollout import Step
from fitment_controller.decisions.strata import Action, Assign
from fitment_controller.domain import (
    Assigned,
    DesiredState,
    Member,
    MemberState,
    ReportedModel,
    Rollout,
)
from fitment_controller.profiles import Profiles
from fitment_controller.service.ports import Publisher
from fitment_controller.store import Rows, Store

_log = logging.getLogger(__name__)

BATCH = 500
"""Desired states read, published and noted at a time."""


def observations(rows: Rows, model: str, members: Sequence[Member]) -> dict[str, Observation]:
    """What is known of these devices now. A device that was never heard of again is offline.

    This happens twice a second over all devices of a rollout, so it reads whole reports only of
    those on their way; of those that arrived, a rollback is all that still matters.
    """
    devices = [member.device for member in members]
    presence = rows.devices.presence(devices)
    desired = rows.desired.generations(devices)
    on_their_way = [one.device for one in members if one.state is MemberState.ASSIGNED]
    arrived = [one.device for one in members if one.state is MemberState.SUCCEEDED]
    reported = {
        **rows.reported.of_model(model, on_their_way),
        **rows.reported.of_model(model, arrived, Phase.ROLLED_BACK),
    }
    again = _measured_again(rows, members, reported)
    return {
        id: _observation(
            presence.get(id, (False, 0)), desired.get(id, 0), reported.get(id), again.get(id, {})
        )
        for id in devices
    }


def _measured_again(
    rows: Rows, members: Sequence[Member], reported: Mapping[str, ReportedModel]
) -> dict[str, dict[str, BenchmarkReport]]:
    """By device and digest: what devices whose trial was spoilt have measured validly since."""
    lacking = {
        member.device: member
        for member in members
        if member.device in reported and lacks_measurement(member, reported[member.device].state)
    }
    found: dict[str, dict[str, BenchmarkReport]] = {}
    for item in rows.evidence.of_devices(sorted(lacking)):
        since = lacking[item.device].assigned_at
        if usable(item.report) and since is not None and item.received_at >= since:
            found.setdefault(item.device, {})[item.report.digest] = item.report
    return found


def carry_out(rows: Rows, step: Step, profiles: Profiles, now: datetime) -> None:
    """Write the desired states that a step's actions ask for."""
    states = rows.desired.get([action.device for action in step.actions])
    for action in step.actions:
        states[action.device] = _changed(states[action.device], action, step.rollout, profiles, now)
    rows.desired.put(list(states.values()))


def hand_over(
    store: Store, publisher: Publisher, delivery: Delivery, clock: Callable[[], datetime]
) -> None:
    """Publish every desired state that the broker has not taken yet; stop when it takes none.

    Committed first, published then, noted last: whatever is killed in between is published once
    more, which a device sees as the generation that it has already.
    """
    while True:
        with store.begin() as rows:
            states = rows.desired.not_handed_over(BATCH)
            portfolios = _portfolios(rows, states)
        taken: list[tuple[str, int]] = []
        for state in states:
            try:
                sent = publisher.publish(message(state, portfolios, delivery, clock()))
            except ContractError as error:  # no retry can mend it; the others must not wait
                _log.error("desired state %d of %s: %s", state.generation, state.device, error)
                sent = True
            if not sent:
                break
            taken.append((state.device, state.generation))
        if taken:
            with store.begin() as rows:
                rows.desired.set_handed_over(taken)
        if len(taken) < BATCH:
            return


def _observation(
    presence: tuple[bool, int],
    desired_generation: int,
    reported: ReportedModel | None,
    again: Mapping[str, BenchmarkReport],
) -> Observation:
    online, generation = presence
    return Observation(
        online=online,
        desired_generation=max(desired_generation, generation),
        state=reported.state if reported else None,
        again=again,
    )


def _changed(
    state: DesiredState, action: Action, rollout: Rollout, profiles: Profiles, now: datetime
) -> DesiredState:
    if action.ref is None:
        return withdraw(state, rollout.request.model, action.generation)
    conditions = profiles.region(action.region).conditions.as_conditions()
    if not isinstance(action, Assign):
        conditions = _to_go_back(conditions)
    return assign(
        state,
        Assigned(
            model=rollout.request.model,
            ref=action.ref,
            generation=action.generation,
            conditions=conditions,
            rollout=rollout.id,
            deadline=action.deadline if isinstance(action, Assign) else None,
            assigned_at=now,
        ),
    )


def _to_go_back(conditions: DeployConditions) -> DeployConditions:
    """What still holds back a device that is put back: what bytes cost, not the time of day.

    Its files are usually there, and what it runs meanwhile is what failed.
    """
    kept = {"allow_metered", "max_bytes_per_day", "max_defer", "max_defer_seconds"}
    return DeployConditions(**{name: getattr(conditions, name) for name in kept})


def _portfolios(rows: Rows, states: Sequence[DesiredState]) -> dict[tuple[str, int], Portfolio]:
    wanted = {(entry.model, entry.ref.model_version) for s in states for entry in s.assigned}
    found = {key: rows.models.get(*key) for key in sorted(wanted)}
    return {key: version.portfolio for key, version in found.items() if version is not None}
