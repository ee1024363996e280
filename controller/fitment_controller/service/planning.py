"""What a plan needs, read from the store within one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fitment_contract.messages import ModelState
from fitment_contract.phase import TERMINAL
from fitment_controller.decisions.chooser import PlanInput
from fitment_controller.decisions.evidence import index_evidence, usable
from fitment_controller.decisions.rollout import Before
from fitment_controller.domain import (
    Assigned,
    DesiredState,
    Device,
    Evidence,
    LowPowerRef,
    ModelVersion,
    Plan,
    ReportedModel,
    RolloutRequest,
    VariantRef,
)
from fitment_controller.errors import NotFoundError
from fitment_controller.profiles import Profiles
from fitment_controller.store import Rows


def find_model(rows: Rows, model: str, version: int | None) -> ModelVersion:
    """A model version; None means the newest.

    Raises:
        NotFoundError: there is none.
    """
    found = rows.models.get(model, version)
    if found is not None:
        return found
    if version is not None and rows.models.newest_version(model):
        raise NotFoundError("version", f"{model}@{version}", "See `fitment model list`")
    known = ", ".join(sorted({item.model for item in rows.models.all()}))
    raise NotFoundError("model", model, f"Known: {known}" if known else "Push one first")


def gather(
    rows: Rows,
    request: RolloutRequest,
    profiles: Profiles,
    default_objective: str,
    devices: Sequence[Device] | None = None,
) -> PlanInput:
    """The input of a plan for `request`, over all devices that it means or the given ones.

    Raises:
        NotFoundError: the model, its version or the objective does not exist.
    """
    version = find_model(rows, request.model, request.model_version)
    chosen = list(devices) if devices is not None else rows.devices.all(request.devices)
    ids = [device.id for device in chosen]
    digests = [entry.variant.digest for entry in version.portfolio.listed() if entry.variant]
    if request.low_power is not None and request.low_power.objective is not None:
        profiles.objective(request.low_power.objective)  # named wrongly, it is so for any device
    evidence = rows.evidence.of_digests(digests)
    evaluation = version.portfolio.evaluation
    return PlanInput(
        request=request,
        portfolio=version.portfolio,
        objective=profiles.objective(request.objective or default_objective),
        profiles=profiles,
        evidence=index_evidence(
            evidence, rows.evidence.failures_of(digests), evaluation.digest if evaluation else None
        ),
        devices=chosen,
        current=current_variants(rows, request.model, ids),
        busy=rows.rollouts.busy(request.model, ids),
    )


def current_variants(rows: Rows, model: str, devices: Sequence[str]) -> dict[str, VariantRef]:
    """What each device runs: what it proved, or what is on its way there.

    A variant that no stored version has is as good as none: it could not be given back.
    """
    desired = rows.desired.get(devices)
    reported = rows.reported.of_model(model, devices)
    versions: dict[int, ModelVersion | None] = {}
    current: dict[str, VariantRef] = {}
    for device in devices:
        ref = _current(desired[device], reported.get(device), model)
        if ref is None:
            continue
        if ref.model_version not in versions:
            versions[ref.model_version] = rows.models.get(model, ref.model_version)
        version = versions[ref.model_version]
        if _holds(version, ref.variant, ref.digest):
            second = ref.low_power
            if second is not None and not _holds(version, second.variant, second.digest):
                ref = ref.model_copy(update={"low_power": None})
            current[device] = ref
    return current


def measured_before(rows: Rows, plan: Plan) -> dict[str, Before]:
    """What each device measured of the variant that it is about to leave."""
    refs = {planned.device: planned.before for planned in plan.devices if planned.before}
    newest: dict[tuple[str, str], Evidence] = {}
    for item in rows.evidence.of_digests(sorted({ref.digest for ref in refs.values()})):
        key = (item.device, item.report.digest)
        known = newest.get(key)
        if usable(item.report) and (known is None or known.received_at <= item.received_at):
            newest[key] = item
    return {
        device: _before(newest, device, ref, plan.model_version) for device, ref in refs.items()
    }


def _before(
    newest: Mapping[tuple[str, str], Evidence], device: str, ref: VariantRef, version: int
) -> Before:
    """Accuracies of different model versions may be of different data, so they do not compare."""
    item = newest.get((device, ref.digest))
    if item is None:
        return Before()
    score = item.report.score() if ref.model_version == version else None
    return Before(
        latency_p95_seconds=item.report.latency.p95_seconds,
        accuracy=score.value if score else None,
    )


def _current(
    desired: DesiredState, reported: ReportedModel | None, model: str
) -> VariantRef | None:
    assigned = desired.assignment(model)
    if model in desired.withdrawn and _unanswered(desired, reported):
        return None  # it is on its way to something else, or to nothing: the answer will say
    if reported is not None and _settled(reported.state, assigned.generation if assigned else 0):
        active = reported.state.active
        if active is None:
            return None
        return VariantRef(
            model_version=active.model_version,
            variant=active.variant,
            digest=active.digest,
            low_power=_second(reported.state, assigned),
        )
    return assigned.ref if assigned else None


def _second(state: ModelState, assigned: Assigned | None) -> LowPowerRef | None:
    """The second variant that the device holds, if it came with what is assigned.

    When it is used is known of the assignment only: after a rollback on the device it is not.
    """
    wanted = assigned.ref.low_power if assigned else None
    if assigned is None or wanted is None or state.active is None or state.low_power is None:
        return None
    held = (state.active.digest, state.low_power.digest)
    return wanted if held == assigned.ref.digests else None


def _unanswered(desired: DesiredState, reported: ReportedModel | None) -> bool:
    return reported is None or reported.state.generation < desired.generation


def _settled(state: ModelState, generation: int) -> bool:
    """The device has answered its newest assignment."""
    return state.phase in TERMINAL and state.generation >= generation


def _holds(version: ModelVersion | None, variant: str, digest: str) -> bool:
    entry = version.portfolio.entry(variant) if version else None
    return entry is not None and entry.variant is not None and entry.variant.digest == digest
