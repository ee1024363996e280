"""The loop over everything: messages in, decisions, desired state out.

Every public method may be called from any thread; one lock guards state changes, and each of them
is one transaction. Nothing is kept in memory that a killed controller would miss: what is desired
is committed before it is published, and noted as handed over only after the publisher took it.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from fitment_contract.benchmark import BenchmarkMode
from fitment_contract.messages import Command, EventLevel, UpMessage
from fitment_contract.portfolio import Portfolio
from fitment_controller.blobs import BlobStore
from fitment_controller.decisions.desired import Delivery
from fitment_controller.decisions.plan import make_plan
from fitment_controller.decisions.rollout import Step, abort, advance, begin, pause, resume
from fitment_controller.domain import LogEntry, ModelVersion, Plan, Rollout, RolloutRequest
from fitment_controller.errors import ConflictError, MissingBlobs, NotFoundError, PlanRefused
from fitment_controller.profiles import Profiles
from fitment_controller.registry import artifacts_of, check_portfolio, missing_from, numbered
from fitment_controller.service.device_commands import (
    benchmark_command,
    measure_command,
    report_command,
)
from fitment_controller.service.dispatch import carry_out, hand_over, observations
from fitment_controller.service.intake import Intake
from fitment_controller.service.planning import gather, measured_before
from fitment_controller.service.ports import (
    FleetObserver,
    IntakeSnapshot,
    Publisher,
    ServiceSettings,
    Unobserved,
)
from fitment_controller.service.questions import FleetQuestions
from fitment_controller.store import Rows, Store

CONTROLLER = "controller"
"""The actor of what happens by itself."""

_log = logging.getLogger(__name__)


class FleetService(FleetQuestions):
    """Headquarters: what arrives, what is commanded and what is asked.

    Args:
        store: the database.
        blobs: the files that devices may fetch.
        profiles: device classes, regions and objectives.
        publisher: the way down to devices.
        clock: the present moment, in UTC.
        settings: what an operator may turn.
        observer: is told what passes through, for metrics.
    """

    def __init__(
        self,
        store: Store,
        blobs: BlobStore,
        profiles: Profiles,
        publisher: Publisher,
        clock: Callable[[], datetime],
        settings: ServiceSettings,
        observer: FleetObserver | None = None,
    ) -> None:
        super().__init__(store, profiles, settings)
        self._blobs = blobs
        self._publisher = publisher
        self._clock = clock
        self._observer: FleetObserver = observer or Unobserved()
        self._delivery = Delivery(settings.artifacts_url, settings.protocol)
        self._lock = threading.RLock()
        self._received: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()

    @property
    def blobs(self) -> BlobStore:
        """The files that devices may fetch."""
        return self._blobs

    # ------------------------------------------------------------------------- what happens

    def receive(self, messages: Sequence[UpMessage]) -> None:
        """Take in a batch, in one transaction.

        A message that the database cannot hold must not take the others with it: when a batch
        fails, its messages are taken one by one, and the one at fault is counted and dropped.
        """
        with self._lock:
            try:
                ask = self._receive(messages)
            except (SQLAlchemyError, ValueError, OverflowError) as error:
                if len(messages) > 1:
                    for message in messages:
                        self.receive([message])
                    return
                _log.warning("dropped a message: %s", type(error).__name__)
                self._dropped["not_stored"] += 1
                return
        for device in sorted(ask):
            self._publisher.publish(report_command(device, self._clock()))

    def tick(self) -> None:
        """Expire leases, advance rollouts, publish what was not handed over. Twice a second."""
        with self._lock:
            with self._store.begin() as rows:
                self._expire(rows)
                unfinished = rows.rollouts.unfinished()
            for rollout in unfinished:
                self._advance_apart(rollout)
            hand_over(self._store, self._publisher, self._delivery, self._clock)

    def _advance_apart(self, rollout: Rollout) -> None:
        """One rollout in a transaction of its own: a fault in it must not hold the others up."""
        try:
            with self._store.begin() as rows:
                step = self._advance(rows, rollout)
            for device in step.measure:  # whoever misses it is asked again in a minute
                model = rollout.request.model
                self._publisher.publish(measure_command(device, model, self._clock()))
        except Exception:  # noqa: BLE001 - the fleet goes on; the log says what is wrong
            _log.exception("rollout %s cannot go on", rollout.id)

    def broker_connected(self) -> None:
        """Hand every desired state over again: the broker may have lost everything."""
        with self._lock:
            with self._store.begin() as rows:
                rows.desired.forget_hand_over()
            hand_over(self._store, self._publisher, self._delivery, self._clock)

    # ----------------------------------------------------------------------------- commands

    def push_model(self, portfolio: Portfolio, actor: str) -> ModelVersion:
        """Register a portfolio as the next version of its model.

        The version that the portfolio carries is replaced by headquarters' own count; pushing
        the newest version once more changes nothing.

        Raises:
            PortfolioError: no rollout could use it.
            MissingBlobs: files that it names are not here yet.
        """
        check_portfolio(portfolio)
        missing = missing_from(self._blobs, artifacts_of(portfolio))
        if missing:
            raise MissingBlobs(missing)
        with self._lock, self._store.begin() as rows:
            newest = rows.models.get(portfolio.model, None)
            if newest is not None and newest.portfolio == numbered(portfolio, newest.version):
                return newest
            number = newest.version + 1 if newest else 1
            version = ModelVersion(
                model=portfolio.model,
                version=number,
                portfolio=numbered(portfolio, number),
                pushed_at=self._clock(),
                actor=actor,
            )
            rows.models.add(version)
            text = f"{version.model}@{number} with {len(portfolio.listed())} variants"
            rows.events.add([self._entry("model-pushed", text, actor)])
        return version

    def start_rollout(self, request: RolloutRequest, actor: str) -> Rollout:
        """Plan, and start moving the devices that would change.

        Raises:
            PlanRefused: with every reason.
            NotFoundError: the model, its version or the objective does not exist.
        """
        with self._lock, self._store.begin() as rows:
            given = gather(rows, request, self._profiles, self._settings.default_objective)
            plan = make_plan(given)
            if plan.refusals:
                raise PlanRefused(plan.refusals)
            baseline = given.portfolio.entry(given.portfolio.baseline)
            benchmark = baseline.benchmark if baseline else None
            reference = benchmark.score() if benchmark else None
            step = begin(
                plan,
                request.model_copy(
                    update={"model_version": plan.model_version, "objective": plan.objective}
                ),
                id=f"{plan.model[:40]}-{uuid.uuid4().hex[:8]}",
                actor=actor,
                now=self._clock(),
                reference_accuracy=reference.value if reference else None,
                higher_is_better=reference.higher_is_better if reference else True,
                before=measured_before(rows, plan),
            )
            self._save(rows, step, actor)
        self._observe(plan)
        return step.rollout

    def pause_rollout(self, id: str, actor: str) -> Rollout:
        """Add no device until it is resumed.

        Raises:
            NotFoundError: there is no such rollout.
            TransitionRefused: it is not running.
        """
        return self._command(id, actor, lambda _, rollout: pause(rollout, self._clock()))

    def resume_rollout(self, id: str, actor: str) -> Rollout:
        """Go on.

        Raises:
            NotFoundError: there is no such rollout.
            TransitionRefused: it is not paused.
        """
        return self._command(id, actor, lambda _, rollout: resume(rollout, self._clock()))

    def abort_rollout(self, id: str, actor: str, revert: bool) -> Rollout:
        """Stop; with `revert`, give every touched device back what it ran.

        Raises:
            NotFoundError: there is no such rollout.
            TransitionRefused: it has ended.
        """

        def decide(rows: Rows, rollout: Rollout) -> Step:
            members = rows.rollouts.members(rollout.id)
            seen = observations(rows, rollout.request.model, members)
            return abort(rollout, members, seen, self._clock(), revert=revert)

        return self._command(id, actor, decide)

    def request_benchmark(
        self, device: str, model: str | None, mode: BenchmarkMode, actor: str
    ) -> Command:
        """Ask a device to measure what it runs; the report arrives as evidence.

        Args:
            device: its id.
            model: None for the only one that it runs.
            mode: quick, or full: a minute and more, with what it sustains and energy.
            actor: who asks.

        Raises:
            NotFoundError: the device is unknown, or does not run the model.
            ConflictError: it is offline, runs several models, or the broker is away.
        """
        with self._lock, self._store.begin() as rows:
            command = benchmark_command(rows, device, model, mode, self._clock())
            if not self._publisher.publish(command):
                raise ConflictError("the broker takes nothing now", "Ask again in a moment")
            text = f"{command.model}, {mode.value}"
            rows.events.add([self._entry("benchmark-requested", text, actor, device=device)])
        return command

    # ------------------------------------------------------------------------------- intake

    def note_dropped(self, reason: str) -> None:
        """Count a payload that could not be decoded, under the codec's reason."""
        with self._lock:
            self._dropped[reason] += 1

    def intake(self) -> IntakeSnapshot:
        """What came in since the start."""
        with self._lock:
            return IntakeSnapshot(received=dict(self._received), dropped=dict(self._dropped))

    # -------------------------------------------------------------------------- small parts

    def _receive(self, messages: Sequence[UpMessage]) -> set[str]:
        with self._store.begin() as rows:
            intake = Intake(rows, self._profiles, self._settings, self._observer, self._clock())
            intake.run(messages)
        self._received.update(intake.received)
        self._dropped.update(intake.dropped)
        return intake.ask

    def _expire(self, rows: Rows) -> None:
        silent = rows.devices.expire(self._clock())
        rows.events.add(
            [
                self._entry("device-offline", f"silent for {lease:g} s", CONTROLLER, device=id)
                for id, lease in silent.items()
            ]
        )

    def _advance(self, rows: Rows, rollout: Rollout) -> Step:
        members = rows.rollouts.members(rollout.id)
        seen = observations(rows, rollout.request.model, members)
        step = advance(rollout, members, seen, self._clock())
        if step.rollout != rollout or step.members or step.actions:
            self._save(rows, step, CONTROLLER)
        return step

    def _command(self, id: str, actor: str, decide: Callable[[Rows, Rollout], Step]) -> Rollout:
        with self._lock, self._store.begin() as rows:
            rollout = rows.rollouts.get(id)
            if rollout is None:
                raise NotFoundError("rollout", id, "See `fitment rollout get`")
            step = decide(rows, rollout)
            self._save(rows, step, actor)
        return step.rollout

    def _save(self, rows: Rows, step: Step, actor: str) -> None:
        """Everything that a step decided, in one transaction."""
        rows.rollouts.put(step.rollout)
        rows.rollouts.put_members(step.rollout.id, step.members)
        carry_out(rows, step, self._profiles, self._clock())
        rows.events.add(
            [
                LogEntry(
                    id=0,
                    at=self._clock(),
                    level=audit.level,
                    name=audit.name,
                    actor=actor,
                    device=audit.device,
                    rollout=step.rollout.id,
                    message=audit.message,
                    evidence=dict(audit.evidence),
                )
                for audit in step.audits
            ]
        )

    def _observe(self, plan: Plan) -> None:
        for planned in plan.devices:
            self._observer.decided(plan.model, "changed", planned.after.variant)
        for _ in plan.unchanged:
            self._observer.decided(plan.model, "unchanged", "")
        for _ in plan.unplaceable:
            self._observer.decided(plan.model, "unplaceable", "no variant fits")

    def _entry(self, name: str, text: str, actor: str, device: str | None = None) -> LogEntry:
        return LogEntry(
            id=0,
            at=self._clock(),
            level=EventLevel.INFO,
            name=name,
            actor=actor,
            device=device,
            message=text,
        )
