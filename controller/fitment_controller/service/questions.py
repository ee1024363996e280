"""What may be asked of headquarters: every answer is read from the store, paged where it grows."""

from __future__ import annotations

from collections.abc import Sequence

from fitment_controller.decisions.chooser import Chooser
from fitment_controller.decisions.plan import make_plan
from fitment_controller.domain import (
    Device,
    DeviceFilter,
    DeviceModel,
    Evidence,
    FleetSummary,
    LogEntry,
    Member,
    ModelVersion,
    Page,
    Plan,
    Rollout,
    RolloutRequest,
    Selection,
)
from fitment_controller.errors import NotFoundError
from fitment_controller.profiles import Profiles
from fitment_controller.service.planning import find_model, gather
from fitment_controller.service.ports import ServiceSettings
from fitment_controller.store import Store

EVERYTHING = DeviceFilter()


class FleetQuestions:
    """The reading half of the service. Safe from any thread: each answer is one transaction."""

    def __init__(self, store: Store, profiles: Profiles, settings: ServiceSettings) -> None:
        self._store = store
        self._profiles = profiles
        self._settings = settings

    @property
    def profiles(self) -> Profiles:
        """The profiles in force."""
        return self._profiles

    def devices(
        self, which: DeviceFilter = EVERYTHING, limit: int = 100, cursor: str | None = None
    ) -> Page[Device]:
        """Devices by id."""
        with self._store.begin() as rows:
            return rows.devices.page(which, limit, cursor)

    def device(self, id: str) -> Device:
        """One device.

        Raises:
            NotFoundError: it was never heard of.
        """
        with self._store.begin() as rows:
            found = rows.devices.get([id]).get(id)
        if found is None:
            raise NotFoundError("device", id, "See `fitment device list`")
        return found

    def assignments(self, device_ids: Sequence[str]) -> dict[str, tuple[DeviceModel, ...]]:
        """Desired and reported side by side, per device and model, for one page of devices."""
        with self._store.begin() as rows:
            desired = rows.desired.get(device_ids)
            reported = rows.reported.get(device_ids)
        return {
            id: tuple(
                DeviceModel(
                    device=id,
                    model=model,
                    assigned=desired[id].assignment(model),
                    reported=reported[id].get(model),
                )
                for model in sorted(
                    {entry.model for entry in desired[id].assigned} | set(reported[id])
                )
            )
            for id in device_ids
        }

    def fleet_summary(self) -> FleetSummary:
        """The fleet in counts."""
        with self._store.begin() as rows:
            return rows.devices.summary()

    def models(self) -> tuple[ModelVersion, ...]:
        """Every version of every model: by name, newest first."""
        with self._store.begin() as rows:
            return tuple(rows.models.all())

    def model(self, name: str, version: int | None = None) -> ModelVersion:
        """One version of a model; the newest unless told.

        Raises:
            NotFoundError: there is none.
        """
        with self._store.begin() as rows:
            return find_model(rows, name, version)

    def plan(self, request: RolloutRequest) -> Plan:
        """Who would get what and why; nothing is touched.

        Raises:
            NotFoundError: the model, its version or the objective does not exist.
        """
        with self._store.begin() as rows:
            return make_plan(
                gather(rows, request, self._profiles, self._settings.default_objective)
            )

    def why(self, device_id: str, model: str, objective: str | None = None) -> Selection:
        """The pick for one device as of now, with a verdict per candidate.

        Raises:
            NotFoundError: the device, model or objective does not exist.
        """
        device = self.device(device_id)
        request = RolloutRequest(model=model, objective=objective)
        with self._store.begin() as rows:
            given = gather(
                rows, request, self._profiles, self._settings.default_objective, [device]
            )
        return Chooser(given).choose(device).selection

    def rollouts(self, limit: int = 100, cursor: str | None = None) -> Page[Rollout]:
        """Rollouts, newest first."""
        with self._store.begin() as rows:
            return rows.rollouts.page(limit, cursor)

    def rollout(self, id: str) -> Rollout:
        """One rollout with its strata and gates.

        Raises:
            NotFoundError: there is none.
        """
        with self._store.begin() as rows:
            found = rows.rollouts.get(id)
        if found is None:
            raise NotFoundError("rollout", id, "See `fitment rollout get`")
        return found

    def rollout_members(self, id: str, limit: int = 100, cursor: str | None = None) -> Page[Member]:
        """A rollout's devices, by id.

        Raises:
            NotFoundError: there is no such rollout.
        """
        self.rollout(id)
        with self._store.begin() as rows:
            return rows.rollouts.member_page(id, limit, cursor)

    def events(self, after_id: int = 0, limit: int = 100) -> tuple[LogEntry, ...]:
        """The log after an entry, oldest first."""
        with self._store.begin() as rows:
            return tuple(rows.events.after(after_id, limit))

    def recent_events(
        self, limit: int = 100, device: str | None = None, rollout: str | None = None
    ) -> tuple[LogEntry, ...]:
        """The newest entries of the log, the newest last."""
        with self._store.begin() as rows:
            return tuple(rows.events.recent(limit, device, rollout))

    def benchmarks(
        self, device: str, model: str | None = None, limit: int = 20
    ) -> tuple[Evidence, ...]:
        """What one device measured, newest first.

        Raises:
            NotFoundError: it was never heard of.
        """
        self.device(device)
        with self._store.begin() as rows:
            return tuple(rows.evidence.recent(model, None, device, limit))

    def evidence(
        self,
        model: str,
        variant: str | None = None,
        device: str | None = None,
        limit: int = 100,
    ) -> tuple[Evidence, ...]:
        """Benchmark reports, newest first."""
        with self._store.begin() as rows:
            return tuple(rows.evidence.recent(model, variant, device, limit))
