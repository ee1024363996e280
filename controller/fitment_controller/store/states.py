"""Desired and reported state per device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, or_, select, update

from fitment_contract.messages import ModelState
from fitment_contract.phase import Phase
from fitment_controller.domain import DesiredState, ReportedModel, in_use_of
from fitment_controller.store.rows import chunks, moment, seconds, upsert
from fitment_controller.store.tables import desired, reported


class DesiredRows:
    """What is wanted of devices, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, devices: Sequence[str]) -> dict[str, DesiredState]:
        """The desired state of each device; empty, at generation 0, where there is none yet."""
        found = {device: DesiredState(device=device) for device in devices}
        for some in chunks(list(devices)):
            rows = self._connection.execute(select(desired).where(desired.c.device.in_(some)))
            found.update((row.device, _desired(row)) for row in rows)
        return found

    def generations(self, devices: Sequence[str]) -> dict[str, int]:
        """The generation of each device that has a desired state, without reading the state."""
        found: dict[str, int] = {}
        columns = (desired.c.device, desired.c.generation)
        for some in chunks(list(devices)):
            rows = self._connection.execute(select(*columns).where(desired.c.device.in_(some)))
            found.update((row.device, row.generation) for row in rows)
        return found

    def put(self, states: Sequence[DesiredState]) -> None:
        """Insert or replace."""
        upsert(
            self._connection,
            desired,
            [
                {
                    "device": state.device,
                    "generation": state.generation,
                    "handed_over": state.handed_over,
                    "state": state.model_dump_json(),
                }
                for state in states
            ],
        )

    def not_handed_over(self, limit: int) -> list[DesiredState]:
        """Some of the states that the broker connection has not taken yet."""
        query = select(desired).where(desired.c.handed_over.is_(False))
        query = query.order_by(desired.c.device).limit(limit)
        return [_desired(row) for row in self._connection.execute(query)]

    def set_handed_over(self, generations: Sequence[tuple[str, int]]) -> None:
        """Note these (device, generation) as taken, unless a newer one has come meanwhile."""
        for some in chunks(generations):
            same = [
                and_(desired.c.device == device, desired.c.generation == generation)
                for device, generation in some
            ]
            self._connection.execute(update(desired).where(or_(*same)).values(handed_over=True))

    def forget_hand_over(self) -> None:
        """The broker may have lost everything: all states are to be handed over again."""
        self._connection.execute(update(desired).values(handed_over=False))


class ReportedRows:
    """What devices proved, within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, devices: Sequence[str]) -> dict[str, dict[str, ReportedModel]]:
        """By device and model."""
        found: dict[str, dict[str, ReportedModel]] = {device: {} for device in devices}
        for some in chunks(list(devices)):
            rows = self._connection.execute(select(reported).where(reported.c.device.in_(some)))
            for row in rows:
                found[row.device][row.model] = _reported(row)
        return found

    def of_model(
        self, model: str, devices: Sequence[str], phase: Phase | None = None
    ) -> dict[str, ReportedModel]:
        """What these devices proved about one model; with `phase`, those in it only."""
        found: dict[str, ReportedModel] = {}
        for some in chunks(list(devices)):
            query = select(reported).where(reported.c.model == model, reported.c.device.in_(some))
            if phase is not None:
                query = query.where(reported.c.phase == phase.value)
            found.update((row.device, _reported(row)) for row in self._connection.execute(query))
        return found

    def put(self, models: Sequence[ReportedModel]) -> None:
        """Insert or replace."""
        upsert(self._connection, reported, [_row(model) for model in models])

    def remove(self, gone: Sequence[tuple[str, str]]) -> None:
        """Forget these (device, model), which a newer report does not name any more."""
        for device, model in gone:
            self._connection.execute(
                delete(reported).where(reported.c.device == device, reported.c.model == model)
            )


def _desired(row: Any) -> DesiredState:
    state = DesiredState.model_validate_json(row.state)
    return state.model_copy(update={"handed_over": row.handed_over})


def _row(model: ReportedModel) -> dict[str, Any]:
    state = model.state
    in_use = in_use_of(state)
    waiting = state.waiting if state.phase is Phase.WAITING else None
    return {
        "device": model.device,
        "model": state.model,
        "phase": state.phase.value,
        "active_variant": in_use.variant if in_use else None,
        "wait_reason": waiting.reason.value if waiting else None,
        "mode": state.mode.value if state.mode else None,
        "received_at": seconds(model.received_at),
        "phase_since": seconds(model.phase_since),
        "state": state.model_dump_json(),
    }


def _reported(row: Any) -> ReportedModel:
    return ReportedModel(
        device=row.device,
        state=ModelState.model_validate_json(row.state),
        received_at=moment(row.received_at),
        phase_since=moment(row.phase_since),
    )
