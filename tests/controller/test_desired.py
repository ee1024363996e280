"""Desired state: newest assignment per model, withdrawals, and reachable artifacts."""

from __future__ import annotations

from fitment_contract.benchmark import BenchmarkProtocol
from fitment_controller.decisions.desired import Delivery, assign, message, withdraw
from fitment_controller.domain import Assigned, DesiredState, VariantRef
from support.core_fleet import MODEL, NOW, make_portfolio

DELIVERY = Delivery("http://hq/v1/artifacts/", BenchmarkProtocol(min_count=7))


def assigned(variant: str, generation: int, model: str = MODEL) -> Assigned:
    entry = make_portfolio().entry(variant)
    assert entry is not None
    assert entry.variant is not None
    ref = VariantRef(model_version=1, variant=variant, digest=entry.variant.digest)
    return Assigned(model=model, ref=ref, generation=generation, assigned_at=NOW)


def test_an_assignment_replaces_the_model_s_own_and_no_other() -> None:
    state = assign(DesiredState(device="pi"), assigned("fp32", 1))
    state = assign(state, assigned("fp32", 2, "other"))
    state = assign(state, assigned("fp16", 3))
    assert {entry.model: entry.ref.variant for entry in state.assigned} == {
        MODEL: "fp16",
        "other": "fp32",
    }
    assert (state.generation, state.handed_over) == (3, False)


def test_a_withdrawn_model_is_named_until_it_is_assigned_again() -> None:
    state = withdraw(assign(DesiredState(device="pi"), assigned("fp32", 1)), MODEL, 2)
    assert (state.assigned, state.withdrawn, state.generation) == ((), (MODEL,), 2)
    assert assign(state, assigned("fp16", 3)).withdrawn == ()


def test_the_message_says_where_every_file_is() -> None:
    state = assign(DesiredState(device="pi"), assigned("fp32", 1))
    sent = message(state, {(MODEL, 1): make_portfolio()}, DELIVERY, NOW)
    (assignment,) = sent.assignments
    assert assignment.variant.golden is not None
    assert assignment.evaluation is not None
    for artifact in (
        assignment.variant.artifact,
        assignment.variant.golden.artifact,
        assignment.evaluation.artifact,
    ):
        assert artifact.encodings[0].urls == (f"http://hq/v1/artifacts/{artifact.digest}",)
    assert assignment.protocol.min_count == 7
    assert assignment.evaluation.metric.name == "top1"
