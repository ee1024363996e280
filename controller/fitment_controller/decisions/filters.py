"""The rules that a candidate must pass on one device. One function per rule, first failure counts.

A fact that the device does not know rejects nothing by itself: the trial on the device decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fitment_contract.device import DeviceFacts
from fitment_contract.variant import Variant
from fitment_controller.decisions.evidence import EvidenceIndex
from fitment_controller.decisions.numbers import Candidate
from fitment_controller.domain import CandidateNumbers, Estimate
from fitment_controller.profiles.kinds import DeviceClass, Objective, Region


@dataclass(frozen=True)
class Question:
    """One device and what is asked for it.

    Attributes:
        current: digest of what the device runs now; it needs no transfer.
        pinned: only this variant is asked for. What failed here before is tried again then.
        present: digests of other files that are there, or come anyway.
        along: what comes in the same update and shares its limits: the first of two variants.
    """

    facts: DeviceFacts
    device_class: DeviceClass
    region: Region
    objective: Objective
    evidence: EvidenceIndex
    current: str | None = None
    pinned: str | None = None
    present: frozenset[str] = frozenset()
    along: CandidateNumbers = field(default_factory=CandidateNumbers)


@dataclass(frozen=True)
class Rejection:
    """Which rule a candidate broke, with the number and the limit where the rule has them.

    Attributes:
        remedy: the change that would let it pass.
    """

    rule: str
    reason: str
    remedy: str
    value: float | None = None
    limit: float | None = None


def reject(question: Question, candidate: Candidate) -> Rejection | None:
    """The first rule that `candidate` breaks, or None when it is eligible."""
    for rule in RULES:
        rejection = rule(question, candidate.variant, candidate.numbers)
        if rejection is not None:
            return rejection
    return None


def _pinned(question: Question, variant: Variant, _: CandidateNumbers) -> Rejection | None:
    if question.pinned is None or variant.name == question.pinned:
        return None
    return Rejection(
        "pinned", f"the request asks for {question.pinned} alone", "ask without naming a variant"
    )


def _runtime(question: Question, variant: Variant, _: CandidateNumbers) -> Rejection | None:
    if question.facts.runtime(variant.needs.runtime) is not None:
        return None
    name = variant.needs.runtime
    return Rejection("runtime", f"the device has no {name}", f"install {name} on the device")


def _format(question: Question, variant: Variant, _: CandidateNumbers) -> Rejection | None:
    runtime = question.facts.runtime(variant.needs.runtime)
    if runtime is None or variant.format in runtime.formats:
        return None
    return Rejection(
        "format",
        f"{runtime.name} {runtime.version} on the device does not read {variant.format}",
        f"update {runtime.name} on the device",
    )


def _opset(question: Question, variant: Variant, _: CandidateNumbers) -> Rejection | None:
    runtime = question.facts.runtime(variant.needs.runtime)
    known = runtime.opset_max if runtime else None
    needed = variant.needs.opset
    if known is None or needed is None or needed <= known:
        return None
    return Rejection(
        "opset",
        f"needs opset {needed}, the device's runtime reads up to {known}",
        f"update {variant.needs.runtime} on the device",
        needed,
        known,
    )


def _isa(question: Question, variant: Variant, _: CandidateNumbers) -> Rejection | None:
    needed = variant.needs.isa_any_of
    if not needed or set(needed) & set(question.facts.hardware.isa):
        return None
    return Rejection(
        "isa",
        f"needs one of {', '.join(needed)}, which the CPU lacks",
        "use a device with such a CPU",
    )


def _provider(question: Question, variant: Variant, _: CandidateNumbers) -> Rejection | None:
    needed = variant.needs.providers_any_of
    runtime = question.facts.runtime(variant.needs.runtime)
    if not needed or runtime is None or set(needed) & set(runtime.providers):
        return None
    return Rejection(
        "provider",
        f"needs one of {', '.join(needed)}, which the device's {runtime.name} lacks",
        f"install a build of {runtime.name} with {needed[0]}",
    )


def _failed_here(question: Question, variant: Variant, _: CandidateNumbers) -> Rejection | None:
    failure = question.evidence.failures.get((variant.digest, question.facts.fingerprint))
    if failure is None or question.pinned is not None:
        return None
    return Rejection(
        "failed-here",
        f"failed on this fingerprint ({failure.reason.value}: {failure.detail})",
        f"ask for {variant.name} by name to try it again",
        failure.count,
        0,
    )


def _memory(question: Question, _: Variant, numbers: CandidateNumbers) -> Rejection | None:
    limits = (
        question.device_class.limits.model_memory_bytes,
        question.facts.hardware.memory_bytes,
        question.objective.floors.memory_max_bytes,
    )
    stated = [limit for limit in limits if limit is not None]
    if not stated:
        return None
    return _above("memory", numbers.memory_bytes, min(stated), "bytes of memory")


def _disk(question: Question, variant: Variant, numbers: CandidateNumbers) -> Rejection | None:
    free = question.facts.storage.free_bytes
    needed = numbers.disk_bytes + question.along.disk_bytes
    if free is None or needed <= free:
        return None
    return Rejection(
        "disk",
        f"needs {needed} bytes on disk, {free} are free",
        f"free {needed - free} bytes on the device",
        needed,
        free,
    )


def _link_bytes(
    question: Question, variant: Variant, numbers: CandidateNumbers
) -> Rejection | None:
    metered = question.facts.link.metered
    budget = question.region.budget
    limits = [budget.bytes_per_update, question.objective.floors.link_max_bytes]
    if question.region.link.metered if metered is None else metered:
        limits.append(budget.metered_bytes_per_update)
    stated = [limit for limit in limits if limit is not None]
    moved = numbers.link_bytes + question.along.link_bytes
    if not stated or moved <= min(stated):
        return None
    return Rejection(
        "link-bytes",
        f"moves {moved} bytes, {min(stated)} are allowed per update",
        f"raise the bytes per update of region {question.region.name} to {moved}",
        moved,
        min(stated),
    )


def _region(question: Question, variant: Variant, _: CandidateNumbers) -> Rejection | None:
    region = question.region
    for rule in region.deny:
        if rule.covers(variant):
            reason = f"{region.name} refuses it: {rule.reason}"
            return Rejection("region", reason, f"lift that rule of region {region.name}")
    if region.allow and not any(rule.covers(variant) for rule in region.allow):
        wanted = "; ".join(rule.reason for rule in region.allow)
        reason = f"{region.name} allows only others: {wanted}"
        return Rejection("region", reason, f"allow it in region {region.name}")
    return None


def _accuracy(question: Question, _: Variant, numbers: CandidateNumbers) -> Rejection | None:
    limit = question.objective.floors.accuracy_loss_max
    return _above("accuracy", numbers.accuracy_loss, limit, "of accuracy lost")


def _worst_slice(question: Question, _: Variant, numbers: CandidateNumbers) -> Rejection | None:
    limit = question.objective.floors.worst_slice_loss_max
    return _above("worst-slice", numbers.worst_slice_loss, limit, "of the worst slice lost")


def _latency(question: Question, _: Variant, numbers: CandidateNumbers) -> Rejection | None:
    limit = question.objective.floors.latency_p95_max_seconds
    return _above("latency", numbers.latency_p95_seconds, limit, "seconds at p95")


RULES: tuple[Callable[[Question, Variant, CandidateNumbers], Rejection | None], ...] = (
    _pinned,
    _runtime,
    _format,
    _opset,
    _isa,
    _provider,
    _failed_here,
    _memory,
    _disk,
    _link_bytes,
    _region,
    _accuracy,
    _worst_slice,
    _latency,
)
"""In this order; what cannot run at all goes before what is not wanted."""


def _above(rule: str, number: Estimate | None, limit: float | None, unit: str) -> Rejection | None:
    if number is None or limit is None or number.value <= limit:
        return None
    return Rejection(
        rule,
        f"{number.value:.4g} {unit} ({number.source.value}), at most {limit:.4g} allowed",
        f"raise the {rule} limit from {limit:.4g} to {number.value:.4g}",
        number.value,
        limit,
    )
