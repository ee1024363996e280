"""The pick for one device: filter, then rank. Pure; every candidate ends with a verdict.

Ranking is elimination: of the eligible candidates, those within the first criterion's tolerance
of the best stay, of these those within the second's, and so on; the last tie falls to what the
class prefers and then to the name, so that the same question has the same answer. What the class
advises against comes last until it has been measured on such a device. The variant that runs now
stays unless another beats it by more than a tolerance, and by a margin where the other is only
predicted, so that neither noise nor hope moves a fleet.

Example:
    >>> selection = select(portfolio, question)          # doctest: +SKIP
    >>> selection.chosen, selection.verdict("fp16").reason    # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fitment_contract.portfolio import Portfolio
from fitment_controller.decisions.filters import Question, Rejection, reject
from fitment_controller.decisions.numbers import Candidate, candidates
from fitment_controller.domain import Estimate, Outcome, Selection, Verdict
from fitment_controller.profiles.kinds import Criterion, DeviceClass

PREDICTION_MARGIN: Final = 1.5
"""By how much a predicted latency must beat a measured one before a device is moved for it.

Predictions rest on estimated class speeds and on ratios seen elsewhere, and on real devices they
miss by such factors. Without the margin, every device that is slower than its profile guesses
would be sent from one untried variant to the next.
"""


@dataclass(frozen=True)
class _Lost:
    """By which criterion a candidate lost, and the two numbers."""

    criterion: str
    value: float | None
    best: float | None
    reason: str


def select(portfolio: Portfolio, question: Question) -> Selection:
    """Choose the variant of `portfolio` for the device in `question`."""
    judged = [
        (candidate, reject(question, candidate))
        for candidate in candidates(
            portfolio,
            question.facts,
            question.device_class,
            question.evidence,
            question.current,
            question.present,
        )
    ]
    eligible = [candidate for candidate, rejection in judged if rejection is None]
    rejected = [(candidate, cause) for candidate, cause in judged if cause is not None]
    ranked = _rank(eligible, question)
    kept = False
    current = next((c for c in ranked if c.variant.digest == question.current), None)
    if current is not None:
        best = next(c for c in ranked if c is current or _beats(c, current, question))
        kept = best is current and best is not ranked[0]
        ranked = [best, *(candidate for candidate in ranked if candidate is not best)]
    verdicts = [
        *_verdicts(ranked, question, kept),
        *(_rejected(candidate, cause) for candidate, cause in rejected),
    ]
    return Selection(
        model=portfolio.model,
        model_version=portfolio.model_version,
        objective=question.objective.name,
        device_class=question.device_class.name,
        region=question.region.name,
        fingerprint=question.facts.fingerprint,
        chosen=ranked[0].variant.name if ranked else None,
        reason=verdicts[0].reason if ranked else "no variant passes every rule",
        remedy=None if ranked else _remedy(rejected),
        kept=kept,
        verdicts=tuple(verdicts),
    )


def _rank(eligible: Sequence[Candidate], question: Question) -> list[Candidate]:
    """All candidates, best first: the winner, then the winner of the rest, and so on."""
    remaining = list(eligible)
    ranked: list[Candidate] = []
    while remaining:
        winner, _ = _winner(remaining, question)
        ranked.append(winner)
        remaining = [candidate for candidate in remaining if candidate is not winner]
    return ranked


def _winner(field: Sequence[Candidate], question: Question) -> tuple[Candidate, dict[str, _Lost]]:
    """The best of `field`, and for each other by which criterion it went."""
    lost: dict[str, _Lost] = {}
    left = _drop_avoided(field, question.device_class, lost)
    for criterion in question.objective.optimise:
        left = _eliminate(left, criterion, lost)
    preferred = [c for c in left if _preferred(c, question.device_class)]
    survivors = preferred or left
    for candidate in left:
        if candidate is not survivors[0]:
            reason = "as good within every tolerance; the name decided"
            if preferred and candidate not in preferred:
                reason = "as good within every tolerance; the class prefers the other"
            lost[candidate.variant.name] = _Lost("tie", None, None, reason)
    return survivors[0], lost


def _drop_avoided(
    field: Sequence[Candidate], device_class: DeviceClass, lost: dict[str, _Lost]
) -> list[Candidate]:
    reasons = {
        candidate.variant.name: rule.reason
        for candidate in field
        for rule in device_class.avoid
        if not candidate.measured and rule.covers(candidate.variant)
    }
    if len(reasons) == len(field):
        return list(field)
    for name, reason in reasons.items():
        lost[name] = _Lost("avoided", None, None, f"advised against, unmeasured: {reason}")
    return [candidate for candidate in field if candidate.variant.name not in reasons]


def _eliminate(
    field: Sequence[Candidate], criterion: Criterion, lost: dict[str, _Lost]
) -> list[Candidate]:
    """Those within the tolerance of the best; candidates without a number go last."""
    numbers = {candidate.variant.name: _cost(candidate, criterion) for candidate in field}
    known = [number for number in numbers.values() if number is not None]
    if not known:
        return list(field)
    best = min(known)
    kept = []
    for candidate in field:
        number = numbers[candidate.variant.name]
        if number is not None and number <= best + _slack(best, criterion):
            kept.append(candidate)
            continue
        lost[candidate.variant.name] = _Lost(
            criterion.by,
            number,
            best,
            f"{_what(candidate, criterion)}, the best has {_spoken(best, criterion)}",
        )
    return kept


def _beats(winner: Candidate, current: Candidate, question: Question) -> bool:
    """Whether the winner is better than what runs by more than a tolerance, in order.

    A latency that is only predicted must be better by `PREDICTION_MARGIN` than a measured one.
    """
    for criterion in question.objective.optimise:
        new, old = _cost(winner, criterion), _cost(current, criterion)
        if new is None or old is None:
            continue
        if criterion.by.startswith("latency") and current.measured and not winner.measured:
            new *= PREDICTION_MARGIN
        if new + _slack(new, criterion) < old:
            return True
        if old + _slack(old, criterion) < new:
            return False
    return False


def _cost(candidate: Candidate, criterion: Criterion) -> float | None:
    """The candidate's number by a criterion; lower is better. Accuracy counts as its loss."""
    if criterion.by == "link_bytes":
        # What all candidates bring along alike would only hide their differences.
        return float(candidate.variant.artifact.transfer_bytes())
    number = _estimate(candidate, criterion)
    return None if number is None else number.value


def _estimate(candidate: Candidate, criterion: Criterion) -> Estimate | None:
    numbers = candidate.numbers
    return {
        "accuracy": numbers.accuracy_loss,
        "latency_p95": numbers.latency_p95_seconds,
        "latency_p50": numbers.latency_p50_seconds,
        "memory": numbers.memory_bytes,
        "link_bytes": None,
    }[criterion.by]


def _slack(best: float, criterion: Criterion) -> float:
    return criterion.tolerance if criterion.by == "accuracy" else criterion.tolerance * abs(best)


def _preferred(candidate: Candidate, device_class: DeviceClass) -> bool:
    return any(rule.covers(candidate.variant) for rule in device_class.prefer)


_WORDS = {
    "accuracy": "accuracy loss",
    "latency_p95": "p95",
    "latency_p50": "p50",
    "memory": "memory",
    "link_bytes": "transfer",
}


def _what(candidate: Candidate, criterion: Criterion) -> str:
    number = _cost(candidate, criterion)
    if number is None:
        return f"no number for {_WORDS[criterion.by]}"
    estimate = _estimate(candidate, criterion)
    source = f" ({estimate.source.value})" if estimate is not None else ""
    return f"{_WORDS[criterion.by]} {_spoken(number, criterion)}{source}"


def _spoken(number: float, criterion: Criterion) -> str:
    """The number in the unit that people think in."""
    if criterion.by.startswith("latency"):
        return f"{number * 1e3:.2f} ms" if number >= 1e-3 else f"{number * 1e6:.0f} µs"
    if criterion.by == "accuracy":
        return f"{number:.4f}"
    return f"{number / 1e6:.1f} MB" if number >= 1e6 else f"{number / 1e3:.1f} kB"


def _verdicts(ranked: Sequence[Candidate], question: Question, kept: bool) -> list[Verdict]:
    if not ranked:
        return []
    first = question.objective.optimise[0]
    reason = f"best of {len(ranked)} eligible: {_what(ranked[0], first)}"
    if kept:
        reason = f"stays: {ranked[1].variant.name} is not better beyond the tolerance"
    verdicts = [_eligible(ranked[0], Outcome.CHOSEN, 1, None, reason)]
    _, lost = _winner(ranked, question)
    for rank, candidate in enumerate(ranked[1:], start=2):
        cause = lost.get(candidate.variant.name)  # none for the winner that hysteresis held back
        why = cause.reason if cause else f"not enough better than {ranked[0].variant.name}"
        verdicts.append(_eligible(candidate, Outcome.ELIGIBLE, rank, cause, why))
    return verdicts


def _eligible(
    candidate: Candidate, outcome: Outcome, rank: int, cause: _Lost | None, reason: str
) -> Verdict:
    return Verdict(
        variant=candidate.variant.name,
        digest=candidate.variant.digest,
        outcome=outcome,
        rank=rank,
        rule=cause.criterion.replace("_", "-") if cause else None,
        value=cause.value if cause else None,
        limit=cause.best if cause else None,
        reason=reason,
        numbers=candidate.numbers,
    )


def _rejected(candidate: Candidate, cause: Rejection) -> Verdict:
    return Verdict(
        variant=candidate.variant.name,
        digest=candidate.variant.digest,
        outcome=Outcome.REJECTED,
        rule=cause.rule,
        value=cause.value,
        limit=cause.limit,
        reason=cause.reason,
        numbers=candidate.numbers,
    )


def _remedy(rejected: Sequence[tuple[Candidate, Rejection]]) -> str | None:
    """The smallest change that would let one candidate pass the rule that stopped it.

    A number that is nearly within its limit is nearer than one far out; rules without numbers
    (another runtime, another CPU) come last. Where one variant was asked for by name, the change
    is about that one.
    """
    rejected = [item for item in rejected if item[1].rule != "pinned"] or rejected
    if not rejected:
        return None

    def excess(item: tuple[Candidate, Rejection]) -> tuple[float, str]:
        candidate, cause = item
        if cause.value is None or not cause.limit:
            return float("inf"), candidate.variant.name
        return cause.value / cause.limit, candidate.variant.name

    candidate, cause = min(rejected, key=excess)
    return f"{cause.remedy} (for {candidate.variant.name})"
