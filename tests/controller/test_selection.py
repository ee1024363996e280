"""Selection: every rule, the sources of numbers, ranking, hysteresis, and properties of all."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitment_contract.device import DeviceFacts, Link, RuntimeFacts, Storage
from fitment_contract.phase import FailureReason
from fitment_contract.portfolio import PortfolioEntry
from fitment_controller.decisions.evidence import EvidenceIndex, index_evidence
from fitment_controller.decisions.filters import Question
from fitment_controller.decisions.selection import select
from fitment_controller.domain import Evidence, KnownFailure, NumberSource, Outcome, Selection
from fitment_controller.profiles import load_profiles
from fitment_controller.profiles.kinds import (
    Budget,
    Criterion,
    Floors,
    Objective,
    Region,
    VariantRule,
)
from support.core_fleet import (
    NOW,
    default_entries,
    make_entry,
    make_facts,
    make_portfolio,
    make_report,
)

PROFILES = load_profiles()
ENTRIES = {entry.name: entry for entry in default_entries()}
S8S8, U8S8 = "int8-s8s8-pc", "int8-u8s8-pc"


def question(**changes: Any) -> Question:
    fields: dict[str, Any] = {
        "facts": make_facts(),
        "device_class": PROFILES.device_class("pi-5"),
        "region": PROFILES.region("eu-west"),
        "objective": PROFILES.objective("balanced"),
        "evidence": EvidenceIndex(),
    }
    return Question(**{**fields, **changes})


def pick(entries: tuple[PortfolioEntry, ...] = default_entries(), **changes: Any) -> Selection:
    return select(make_portfolio(entries), question(**changes))


def measured(
    name: str,
    p95: float,
    *,
    facts: DeviceFacts | None = None,
    device: str = "d1",
    device_class: str = "pi-5",
    fingerprint: str | None = None,
    **report: Any,
) -> Evidence:
    variant = ENTRIES[name].variant
    assert variant is not None
    own = (facts or make_facts()).fingerprint
    return Evidence(
        report=make_report(variant, fingerprint=fingerprint or own, p95=p95, **report),
        device=device,
        device_class=device_class,
        region="eu-west",
        received_at=NOW,
    )


def rejected_by(selection: Selection, variant: str) -> str | None:
    verdict = selection.verdict(variant)
    assert verdict is not None
    return verdict.rule if verdict.outcome is Outcome.REJECTED else None


def region(**changes: Any) -> Region:
    return Region(apiVersion="fitment/v1", kind="Region", name="here", title="Here", **changes)


def objective(*optimise: Criterion, **floors: Any) -> Objective:
    return Objective(
        apiVersion="fitment/v1",
        kind="Objective",
        name="test",
        title="Test",
        floors=Floors(**floors),
        optimise=optimise or (Criterion(by="latency_p95", tolerance=0.05),),
    )


def test_classes_with_other_priors_get_other_variants() -> None:
    assert pick().chosen == S8S8
    vnni = pick(facts=make_facts("x86-vnni"), device_class=PROFILES.device_class("x86-vnni"))
    assert vnni.chosen == U8S8
    jetson = pick(device_class=PROFILES.device_class("jetson-orin"))
    assert jetson.chosen == "fp16"


def test_every_candidate_has_a_verdict_and_ranks_are_without_gaps() -> None:
    selection = pick()
    assert {verdict.variant for verdict in selection.verdicts} == set(ENTRIES)
    ranks = [verdict.rank for verdict in selection.verdicts if verdict.rank is not None]
    assert ranks == list(range(1, len(ranks) + 1))
    assert selection.verdicts[0].outcome is Outcome.CHOSEN
    assert all(verdict.reason for verdict in selection.verdicts)


def test_four_percent_accuracy_is_rejected_with_the_number_and_the_limit() -> None:
    verdict = pick().verdict("int8-broken")
    assert verdict is not None
    assert (verdict.outcome, verdict.rule, verdict.limit) == (Outcome.REJECTED, "accuracy", 0.02)
    assert verdict.value == pytest.approx(0.86)


@pytest.mark.parametrize(
    ("rule", "entry_needs", "changes"),
    [
        ("runtime", {}, {"facts": make_facts(runtimes=())}),
        ("opset", {"opset": 24}, {}),
        ("isa", {"isa_any_of": ("avx512_vnni",)}, {}),
        ("provider", {"providers_any_of": ("CUDAExecutionProvider",)}, {}),
        ("memory", {"memory_bytes": 2**40}, {}),
        ("disk", {}, {"facts": make_facts(storage=Storage(free_bytes=10))}),
        ("link-bytes", {}, {"region": region(budget=Budget(bytes_per_update=10))}),
        ("link-bytes", {}, {"objective": objective(link_max_bytes=10)}),
        ("memory", {}, {"objective": objective(memory_max_bytes=10)}),
        ("latency", {}, {"objective": objective(latency_p95_max_seconds=1e-9)}),
        (
            "region",
            {},
            {"region": region(deny=(VariantRule(precisions=("int8",), reason="no"),))},
        ),
        (
            "region",
            {},
            {"region": region(allow=(VariantRule(precisions=("fp32",), reason="only"),))},
        ),
        ("pinned", {}, {"pinned": "fp32"}),
        (
            "format",
            {},
            {
                "facts": make_facts(
                    runtimes=(RuntimeFacts(name="onnxruntime", version="1", formats=("ort",)),)
                )
            },
        ),
    ],
)
def test_each_rule_rejects_by_its_name(
    rule: str, entry_needs: dict[str, Any], changes: dict[str, Any]
) -> None:
    entry = make_entry("int8-x", traits=("s8s8",), needs=entry_needs)
    selection = pick((ENTRIES["fp32"], entry), **changes)
    assert rejected_by(selection, "int8-x") == rule


def test_a_metered_budget_counts_on_metered_links_only() -> None:
    tight = region(budget=Budget(metered_bytes_per_update=10))
    metered = make_facts(link=Link(metered=True))
    assert pick(region=tight).chosen is not None
    assert rejected_by(pick(region=tight, facts=metered), S8S8) == "link-bytes"


def test_what_runs_already_needs_no_bytes() -> None:
    variant = ENTRIES[S8S8].variant
    assert variant is not None
    tight = region(budget=Budget(bytes_per_update=10))
    assert pick(region=tight, current=variant.digest).chosen == S8S8


def test_with_nothing_left_the_cheapest_change_is_named() -> None:
    selection = pick(region=region(budget=Budget(bytes_per_update=39_000)))
    assert selection.chosen is None
    assert selection.remedy is not None
    assert "raise the bytes per update of region here to 41100" in selection.remedy


def test_the_worst_slice_has_a_floor_of_its_own() -> None:
    evidence = index_evidence([measured(S8S8, 0.001, accuracy=0.9, worst_slice=0.5)])
    assert rejected_by(pick(evidence=evidence), S8S8) == "worst-slice"


def test_numbers_come_from_the_nearest_source() -> None:
    other = "c" * 16
    cases = [
        ([measured(S8S8, 0.5), measured(S8S8, 0.7, device="d2", fingerprint=other)], 0.5),
        ([measured(S8S8, 0.7, device="d2", fingerprint=other)], 0.7),
    ]
    sources = [NumberSource.FINGERPRINT, NumberSource.CLASS]
    for (items, value), source in zip(cases, sources, strict=True):
        verdict = pick(evidence=index_evidence(items)).verdict(S8S8)
        assert verdict is not None
        number = verdict.numbers.latency_p95_seconds
        assert number is not None
        assert (number.value, number.source, number.n) == (value, source, 1)
    verdict = pick().verdict(S8S8)
    assert verdict is not None
    assert verdict.numbers.latency_p95_seconds is not None
    assert verdict.numbers.latency_p95_seconds.source is NumberSource.PREDICTED
    assert verdict.numbers.latency_p95_seconds.value == pytest.approx(0.002 * 3 * 0.5)


def test_the_unmeasured_are_predicted_on_the_scale_of_what_was_measured() -> None:
    """A slow simulated machine must not make everything unmeasured look fast."""
    evidence = index_evidence([measured("fp32", 1.0)])
    verdict = pick(evidence=evidence).verdict(S8S8)
    assert verdict is not None
    assert verdict.numbers.latency_p95_seconds is not None
    assert verdict.numbers.latency_p95_seconds.value == pytest.approx(0.5)


def test_a_variant_that_disappoints_loses_ground_to_the_untried() -> None:
    """One measurement is enough to change the next pick, without any other to compare with."""
    assert pick(evidence=index_evidence([measured(S8S8, 0.03)])).chosen == U8S8
    assert pick(evidence=index_evidence([measured(S8S8, 0.0003)])).chosen == S8S8


def test_a_device_s_accuracy_overrules_the_build_host_s() -> None:
    evidence = index_evidence([measured(S8S8, 0.0001, accuracy=0.70)])
    selection = pick(evidence=evidence)
    assert rejected_by(selection, S8S8) == "accuracy"
    assert selection.chosen == U8S8


def test_invalid_reports_and_simulated_ones_do_not_inform_real_devices() -> None:
    simulated = make_facts(simulated=True)
    for item in (
        measured(S8S8, 9.0, valid=False),
        measured(S8S8, 9.0, facts=simulated, simulated=True),
    ):
        assert pick(evidence=index_evidence([item])) == pick()
    informed = pick(
        facts=simulated,
        evidence=index_evidence([measured(S8S8, 9.0, facts=simulated, simulated=True)]),
    )
    assert informed.chosen != S8S8


def test_a_measurement_changes_the_pick() -> None:
    evidence = index_evidence([measured("fp32", 0.001), measured(S8S8, 0.004)])
    assert pick(evidence=evidence).chosen == U8S8


def test_known_failures_reject_on_their_fingerprint_unless_asked_by_name() -> None:
    variant = ENTRIES[S8S8].variant
    assert variant is not None
    failure = KnownFailure(
        digest=variant.digest,
        fingerprint=make_facts().fingerprint,
        reason=FailureReason.CRASHED,
        detail="SIGSEGV",
        count=2,
    )
    evidence = index_evidence([], [failure])
    assert rejected_by(pick(evidence=evidence), S8S8) == "failed-here"
    assert pick(evidence=evidence, pinned=S8S8).chosen == S8S8
    assert rejected_by(pick(evidence=evidence, facts=make_facts("x86-avx2")), S8S8) is None


def test_what_the_class_advises_against_comes_last_until_measured() -> None:
    fast = make_entry("fp16", precision="fp16", traits=("fp16",), p95=0.0001)
    entries = (ENTRIES["fp32"], fast)
    assert pick(entries).chosen == "fp32"
    variant = fast.variant
    assert variant is not None
    report = make_report(variant, fingerprint=make_facts().fingerprint, p95=0.0001)
    item = Evidence(
        report=report, device="d", device_class="pi-5", region="eu-west", received_at=NOW
    )
    assert pick(entries, evidence=index_evidence([item])).chosen == "fp16"


@pytest.mark.parametrize(("p95", "stays"), [(0.00098, True), (0.0005, False)])
def test_the_current_variant_stays_unless_beaten_beyond_the_tolerance(
    p95: float, stays: bool
) -> None:
    variant = ENTRIES[U8S8].variant
    assert variant is not None
    evidence = index_evidence([measured(U8S8, 0.001), measured(S8S8, p95)])
    same_size = objective(Criterion(by="latency_p95", tolerance=0.05))
    selection = pick(evidence=evidence, current=variant.digest, objective=same_size)
    assert (selection.chosen == U8S8) is stays
    assert selection.kept is stays


@pytest.mark.parametrize(("p95", "stays"), [(0.0045, True), (0.03, False)])
def test_hope_alone_moves_no_device(p95: float, stays: bool) -> None:
    """A device slower than its profile guesses is not sent from one untried variant to the next."""
    variant = ENTRIES[S8S8].variant
    assert variant is not None
    evidence = index_evidence([measured(S8S8, p95)])
    assert pick(evidence=evidence).chosen == U8S8, "the untried looks better"
    assert (pick(evidence=evidence, current=variant.digest).chosen == S8S8) is stays


def test_ties_fall_to_the_next_criterion() -> None:
    evidence = index_evidence([measured(U8S8, 0.00100), measured(S8S8, 0.00102, accuracy=0.92)])
    by_latency = Criterion(by="latency_p95", tolerance=0.05)
    by_accuracy = Criterion(by="accuracy", tolerance=0.01)
    assert pick(evidence=evidence, objective=objective(by_latency)).chosen == S8S8  # the name
    decided = pick(evidence=evidence, objective=objective(by_latency, by_accuracy))
    verdict = decided.verdict(U8S8)
    assert verdict is not None
    assert (decided.chosen, verdict.rule) == (S8S8, "accuracy")


# ------------------------------------------------------------------------------------ properties

PRECISIONS = ("int8", "fp16", "fp32")
TRAITS = ("u8s8", "s8s8", "u8u8", "per-channel", "reduce-range", "dynamic")


@st.composite
def portfolios(draw: st.DrawFn) -> tuple[PortfolioEntry, ...]:
    baseline = make_entry("fp32", precision="fp32", traits=("baseline",), p95=0.002)
    others = [
        make_entry(
            f"v{n}",
            precision=draw(st.sampled_from(PRECISIONS)),
            traits=tuple(draw(st.lists(st.sampled_from(TRAITS), max_size=2, unique=True))),
            size=draw(st.integers(1_000, 3_000_000)),
            p95=draw(st.floats(1e-5, 1e-1)),
            accuracy=draw(st.floats(0, 1)),
            needs={"memory_bytes": draw(st.integers(0, 3 * 2**30))},
        )
        for n in range(draw(st.integers(0, 6)))
    ]
    return (baseline, *others)


@st.composite
def questions(draw: st.DrawFn) -> Question:
    return question(
        device_class=draw(st.sampled_from(PROFILES.classes)),
        region=draw(st.sampled_from(sorted(PROFILES.regions.values(), key=lambda r: r.name))),
        objective=draw(st.sampled_from(sorted(PROFILES.objectives.values(), key=lambda o: o.name))),
    )


@settings(max_examples=60, deadline=None)
@given(portfolios(), questions(), st.randoms(use_true_random=False))
def test_the_order_of_candidates_does_not_matter(
    entries: tuple[PortfolioEntry, ...], asked: Question, shuffle: random.Random
) -> None:
    mixed = list(entries)
    shuffle.shuffle(mixed)
    first, second = (select(make_portfolio(tuple(order)), asked) for order in (entries, mixed))
    assert first == second


@settings(max_examples=60, deadline=None)
@given(portfolios(), questions())
def test_a_rejected_candidate_has_no_say(
    entries: tuple[PortfolioEntry, ...], asked: Question
) -> None:
    whole = select(make_portfolio(entries), asked)
    gone = {v.variant for v in whole.verdicts if v.outcome is Outcome.REJECTED} - {"fp32"}
    left = tuple(entry for entry in entries if entry.name not in gone)
    assert select(make_portfolio(left), asked).chosen == whole.chosen


@settings(max_examples=60, deadline=None)
@given(portfolios(), questions())
def test_the_choice_never_breaks_a_floor(
    entries: tuple[PortfolioEntry, ...], asked: Question
) -> None:
    selection = select(make_portfolio(entries), asked)
    if selection.chosen is None:
        assert selection.remedy
        return
    verdict = selection.verdict(selection.chosen)
    assert verdict is not None
    floors = asked.objective.floors
    lost = verdict.numbers.accuracy_loss
    assert lost is not None
    assert floors.accuracy_loss_max is not None
    assert lost.value <= floors.accuracy_loss_max
    limit = asked.device_class.limits.model_memory_bytes
    assert verdict.numbers.memory_bytes is not None
    assert limit is None or verdict.numbers.memory_bytes.value <= limit


@settings(max_examples=40, deadline=None)
@given(portfolios(), questions())
def test_what_was_chosen_is_chosen_again_once_it_runs(
    entries: tuple[PortfolioEntry, ...], asked: Question
) -> None:
    """No flapping: running the pick makes it no worse a pick."""
    portfolio = make_portfolio(entries)
    first = select(portfolio, asked)
    entry = portfolio.entry(first.chosen) if first.chosen else None
    if entry is None or entry.variant is None:
        return
    settled = question(
        device_class=asked.device_class,
        region=asked.region,
        objective=asked.objective,
        current=entry.variant.digest,
    )
    again = select(portfolio, settled)
    assert (again.chosen, again.kept) == (first.chosen, False)
