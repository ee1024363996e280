"""Evidence to pass, wait or fail: each gate with its value, threshold, count and reason.

Errors are looked at before successes, devices that are offline are never successes, and a gate
without evidence waits. The p95 gate compares with what each device ran before, on that device.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from fitment_controller.decisions.evidence import loss
from fitment_controller.domain import (
    GateResult,
    GateVerdict,
    Member,
    MemberState,
    Rollout,
    RolloutPolicy,
)

ON_ITS_WAY = frozenset({MemberState.ASSIGNED})
BAD = frozenset({MemberState.FAILED, MemberState.TIMED_OUT})


def judge(rollout: Rollout, touched: Sequence[Member], canary: bool) -> tuple[GateResult, ...]:
    """Every gate over the devices of one stratum that were touched and not assigned back.

    In the `canary` step a single failure fails the stratum.
    """
    policy = rollout.request.policy
    proved = [member for member in touched if member.state is MemberState.SUCCEEDED]
    waiting = not touched or any(member.state in ON_ITS_WAY for member in touched)
    return (
        _success(touched, 1.0 if canary else policy.min_success_ratio),
        _measured(rollout, proved, waiting),
        _accuracy_loss(rollout, proved, waiting),
        _p95_ratio(policy, proved, waiting),
    )


def verdict(results: Sequence[GateResult]) -> GateVerdict:
    """Fail if one fails, else wait if one waits, else pass."""
    verdicts = {result.verdict for result in results}
    for worst in (GateVerdict.FAIL, GateVerdict.WAIT):
        if worst in verdicts:
            return worst
    return GateVerdict.PASS


def _success(touched: Sequence[Member], threshold: float) -> GateResult:
    """The share of finished devices that were proved; fails as soon as it cannot be reached."""
    bad = [member for member in touched if member.state in BAD]
    good = sum(member.state is MemberState.SUCCEEDED for member in touched)
    waiting = sum(member.state in ON_ITS_WAY for member in touched)
    finished = good + len(bad)
    value = good / finished if finished else None
    best_case = (good + waiting) / (finished + waiting) if finished + waiting else 0.0
    if bad and best_case < threshold:
        reason = f"{len(bad)} of {finished} failed: {bad[0].device}: {bad[0].reason}"
        return _result("success-ratio", value, threshold, finished, GateVerdict.FAIL, reason)
    if waiting or not finished:
        reason = f"{waiting} on their way"
        return _result("success-ratio", value, threshold, finished, GateVerdict.WAIT, reason)
    reason = f"{good} of {finished} proved"
    return _result("success-ratio", value, threshold, finished, GateVerdict.PASS, reason)


def _measured(rollout: Rollout, proved: Sequence[Member], waiting: bool) -> GateResult:
    """Each proved device has shown a latency, and an accuracy where the model has labels."""
    needs_accuracy = rollout.reference_accuracy is not None
    lacking = [
        member
        for member in proved
        if member.latency_p95_seconds is None or (needs_accuracy and member.accuracy is None)
    ]
    share = 1.0 - len(lacking) / len(proved) if proved else None
    if lacking:
        reason = f"{lacking[0].device} is active without a measurement of this variant"
        return _result("measured", share, 1.0, len(proved), GateVerdict.FAIL, reason)
    if not proved and not waiting:
        return _result("measured", None, 1.0, 0, GateVerdict.FAIL, "no device proved anything")
    if not proved:
        return _result("measured", None, 1.0, 0, GateVerdict.WAIT, "nothing measured yet")
    return _open("measured", share, 1.0, len(proved), waiting, f"{len(proved)} measured")


def _accuracy_loss(rollout: Rollout, proved: Sequence[Member], waiting: bool) -> GateResult:
    """The largest loss on any device, against the baseline or against what it ran before."""
    limit = rollout.request.policy.max_accuracy_loss
    losses = [
        (loss(reference, member.accuracy, rollout.higher_is_better), member.device)
        for member in proved
        for reference in (rollout.reference_accuracy, member.before_accuracy)
        if reference is not None and member.accuracy is not None
    ]
    devices = len({device for _, device in losses})
    if not losses:
        if rollout.reference_accuracy is None and proved:
            reason = "the model has no labelled evaluation split"
            return _result("accuracy-loss", None, limit, 0, GateVerdict.PASS, reason)
        return _result("accuracy-loss", None, limit, 0, GateVerdict.WAIT, "nothing measured yet")
    worst, device = max(losses)
    if worst > limit:
        reason = f"{device} lost {worst:.4f}, at most {limit:.4f} allowed"
        return _result("accuracy-loss", worst, limit, devices, GateVerdict.FAIL, reason)
    reason = f"largest loss {worst:.4f} on {device}"
    return _open("accuracy-loss", worst, limit, devices, waiting, reason)


def _p95_ratio(policy: RolloutPolicy, proved: Sequence[Member], waiting: bool) -> GateResult:
    limit = policy.max_p95_ratio
    ratios = [
        member.latency_p95_seconds / member.before_p95_seconds
        for member in proved
        if member.latency_p95_seconds is not None and member.before_p95_seconds
    ]
    if not ratios:
        if not proved:
            return _result("p95-ratio", None, limit, 0, GateVerdict.WAIT, "nothing measured yet")
        reason = "nothing measured ran on these devices before"
        return _open("p95-ratio", None, limit, 0, waiting, reason)
    value = median(ratios)
    if value > limit:
        reason = f"p95 is {value:.2f} times that of before, at most {limit:.2f} allowed"
        verdict = GateVerdict.WAIT if waiting else GateVerdict.FAIL
        return _result("p95-ratio", value, limit, len(ratios), verdict, reason)
    reason = f"p95 is {value:.2f} times that of before"
    return _open("p95-ratio", value, limit, len(ratios), waiting, reason)


def _open(
    name: str, value: float | None, threshold: float, n: int, waiting: bool, reason: str
) -> GateResult:
    """Good so far: passes once nobody is on the way any more."""
    verdict = GateVerdict.WAIT if waiting else GateVerdict.PASS
    return _result(name, value, threshold, n, verdict, reason)


def _result(
    name: str, value: float | None, threshold: float, n: int, verdict: GateVerdict, reason: str
) -> GateResult:
    return GateResult(
        name=name, value=value, threshold=threshold, n=n, verdict=verdict, reason=reason
    )
