"""Reported states of a batch against those that are known: what is new, and what it means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from fitment_contract.messages import EventLevel, ModelState
from fitment_contract.phase import TERMINAL, FailureReason, Phase
from fitment_controller.domain import (
    Device,
    KnownFailure,
    LogEntry,
    ReportedModel,
    waiting_words,
)
from fitment_controller.service.ports import FleetObserver

THE_MODELS_FAULT: Final = frozenset(
    {
        FailureReason.UNSUPPORTED,
        FailureReason.LOAD_FAILED,
        FailureReason.INFERENCE_FAILED,
        FailureReason.GOLDEN_MISMATCH,
        FailureReason.TIMED_OUT,
        FailureReason.MEMORY_EXCEEDED,
        FailureReason.CRASHED,
    }
)
"""Failures that other devices with the same fingerprint are expected to repeat."""


class ReportBook:
    """What devices report within a batch.

    Attributes:
        failures: new failures that are the model's fault, one each.
        log: a line per deployment that changed its phase.
    """

    def __init__(
        self,
        known: Mapping[str, Mapping[str, ReportedModel]],
        observer: FleetObserver,
        now: datetime,
    ) -> None:
        self.failures: list[KnownFailure] = []
        self.log: list[LogEntry] = []
        self._known = {device: dict(models) for device, models in known.items()}
        self._observer = observer
        self._now = now
        self._changed: dict[tuple[str, str], ReportedModel] = {}
        self._gone: set[tuple[str, str]] = set()

    def take(self, device: Device, models: Sequence[ModelState]) -> None:
        """The device's whole reported state, which replaces what it said before."""
        book = self._known.setdefault(device.id, {})
        for state in models:
            before = book.get(state.model)
            same = before is not None and _same_phase(before.state, state)
            book[state.model] = ReportedModel(
                device=device.id,
                state=state,
                received_at=self._now,
                phase_since=before.phase_since if before is not None and same else self._now,
            )
            self._changed[device.id, state.model] = book[state.model]
            self._gone.discard((device.id, state.model))
            self._transferred(device, before, state)
            if not same:
                self._moved(device, before, state)
        for model in set(book) - {state.model for state in models}:
            del book[model]
            self._changed.pop((device.id, model), None)
            self._gone.add((device.id, model))

    def changed(self) -> list[ReportedModel]:
        """To be written."""
        return [self._changed[key] for key in sorted(self._changed)]

    def gone(self) -> list[tuple[str, str]]:
        """To be removed: (device, model)."""
        return sorted(self._gone)

    def _transferred(self, device: Device, before: ReportedModel | None, state: ModelState) -> None:
        known = 0
        if before is not None and before.state.generation == state.generation:
            known = before.state.bytes_transferred
        if state.bytes_transferred > known:
            new_bytes = state.bytes_transferred - known
            self._observer.downloaded(device.region, "identity", new_bytes)

    def _moved(self, device: Device, before: ReportedModel | None, state: ModelState) -> None:
        if before is not None and before.state.generation == state.generation:
            seconds = (self._now - before.phase_since).total_seconds()
            self._observer.stage_finished(before.state.phase.value, max(seconds, 0.0))
        failure = state.failure if state.phase is Phase.ROLLED_BACK else None
        if state.phase in TERMINAL:
            result = "succeeded" if state.phase is Phase.ACTIVE else "failed"
            reason = failure.reason.value if failure else ""
            self._observer.update_finished(state.model, result, reason)
        digest = (failure.digest if failure else None) or state.digest
        if failure is not None and failure.reason in THE_MODELS_FAULT and digest:
            self.failures.append(
                KnownFailure(
                    digest=digest,
                    fingerprint=device.fingerprint,
                    reason=failure.reason,
                    detail=failure.detail,
                    count=1,
                )
            )
        self.log.append(_line(device, state, self._now))


def _same_phase(before: ModelState, after: ModelState) -> bool:
    return (before.generation, before.phase) == (after.generation, after.phase)


def _line(device: Device, state: ModelState, now: datetime) -> LogEntry:
    detail = ""
    if state.failure is not None and state.phase is Phase.ROLLED_BACK:
        detail = f": {state.failure.reason.value}: {state.failure.detail}"
    elif state.waiting is not None and state.phase is Phase.WAITING:
        detail = f": {waiting_words(state.waiting)}"
    failed = state.phase is Phase.ROLLED_BACK and state.failure is not None
    return LogEntry(
        id=0,
        at=now,
        level=EventLevel.WARNING if failed else EventLevel.INFO,
        name="phase-changed",
        actor=device.id,
        device=device.id,
        rollout=state.rollout,
        message=f"{state.model} {state.variant or ''} {state.phase.value}{detail}",
        evidence={"model": state.model, "variant": state.variant, "phase": state.phase.value},
    )
