"""The state on real files: durable activation, rollback, eviction, and mending after crashes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fitment_agent import model
from fitment_agent.deployment import Effect, RetryPolicy
from fitment_agent.deployment_events import Failed, Fetched, Proved, Verified, Weighed
from fitment_agent.errors import RollbackRefusedError, StorageError, UnknownModelError
from fitment_agent.journal import Journal
from fitment_agent.state import AgentState
from fitment_contract.benchmark import SessionTuning
from fitment_contract.messages import Assignment, Desired, LowPower
from fitment_contract.phase import FailureReason, Phase
from support.agent_records import NOW, a_report, a_variant, an_assignment

FIRST, SECOND, THIRD = (an_assignment(name) for name in ("first", "second", "third"))


def open_state(folder: Path) -> AgentState:
    return AgentState(folder, Journal(folder / "journal.db"), RetryPolicy(), clock=lambda: NOW)


@pytest.fixture
def state(tmp_path: Path) -> AgentState:
    return open_state(tmp_path)


def store(state: AgentState, assignment: Assignment) -> None:
    """Put the assignment's file where the worker would."""
    path = state.blobs.path(assignment.variant.digest)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(assignment.variant.name.encode())


def desire(state: AgentState, generation: int, *assignments: Assignment) -> None:
    state.accept(Desired(device="d", sent_at=NOW, generation=generation, assignments=assignments))


def activate(state: AgentState, generation: int, assignment: Assignment) -> None:
    desire(state, generation, assignment)
    state.apply(assignment.model, Weighed(None))
    store(state, assignment)
    for event in (Fetched(1), Verified(), Proved(a_report(assignment))):
        state.apply(assignment.model, event)
    assert state.deployments[assignment.model].phase is Phase.ACTIVE


def active_name(state: AgentState) -> str | None:
    pointer = state.pointers.read("activity")
    return pointer.current.variant if pointer else None


def test_activating_moves_the_pointer_and_keeps_the_previous(state: AgentState) -> None:
    activate(state, 1, FIRST)
    activate(state, 2, SECOND)
    content = json.loads(state.pointers.path("activity").read_bytes())
    assert (content["variant"], content["previous"]["variant"]) == ("second", "first")
    assert content["path"] == f"blobs/{SECOND.variant.digest}"
    assert content["session_options"] == {
        "threads": 1,
        "affinity": [],
        "providers": [],
        "arena": True,
    }
    told = state.model_states()[0]
    assert told.active is not None
    assert (told.phase, told.active.variant, told.generation) == (Phase.ACTIVE, "second", 2)


def test_eviction_spares_current_and_previous_only(state: AgentState) -> None:
    for generation, assignment in enumerate((FIRST, SECOND, THIRD), start=1):
        activate(state, generation, assignment)
    partial = state.blobs.partial_folder / ("0" * 64)
    partial.parent.mkdir(exist_ok=True)
    partial.touch()
    desire(state, 4, THIRD)  # settles
    kept = {path.name for path in state.blobs.folder.iterdir()}
    assert kept == {SECOND.variant.digest, THIRD.variant.digest}
    assert not partial.exists()


def test_eviction_spares_work_under_way(state: AgentState) -> None:
    other = an_assignment("other", model="keyword")
    desire(state, 1, FIRST, other)
    store(state, other)
    state.apply("keyword", Weighed(None))
    state.apply("activity", Weighed(None))
    state.apply("activity", Failed(FailureReason.NOT_FOUND, "404"))
    assert state.blobs.has(other.variant.digest)


def test_a_failed_deployment_leaves_the_pointer_alone(state: AgentState) -> None:
    activate(state, 1, FIRST)
    before = state.pointers.path("activity").read_bytes()
    desire(state, 2, SECOND)
    state.apply("activity", Weighed(None))
    state.apply("activity", Failed(FailureReason.DIGEST_MISMATCH, "one bit"))
    assert state.pointers.path("activity").read_bytes() == before
    told = state.model_states()[0]
    assert told.failure is not None
    assert told.active is not None
    assert (told.failure.reason, told.active.variant) == (FailureReason.DIGEST_MISMATCH, "first")


def test_rolling_back_returns_to_the_previous_once(state: AgentState) -> None:
    activate(state, 1, FIRST)
    activate(state, 2, SECOND)
    state.withdraw("activity", "by hand")
    assert active_name(state) == "first"
    assert state.deployments["activity"].phase is Phase.ROLLED_BACK
    with pytest.raises(RollbackRefusedError):
        state.withdraw("activity", "by hand")
    with pytest.raises(UnknownModelError):
        state.withdraw("nothing", "by hand")


def test_rolling_back_after_a_failure_returns_to_the_previous_too(state: AgentState) -> None:
    activate(state, 1, FIRST)
    activate(state, 2, SECOND)
    desire(state, 3, THIRD)
    state.withdraw("activity", "by hand")
    assert (active_name(state), state.deployments["activity"].phase) == (
        "second",
        Phase.ROLLED_BACK,
    )
    state.withdraw("activity", "by hand")
    assert active_name(state) == "first"


def test_wanting_the_active_one_again_is_no_work_and_keeps_its_measurement(
    state: AgentState,
) -> None:
    activate(state, 1, FIRST)
    desire(state, 2, SECOND)
    desire(state, 3, FIRST)
    told = state.model_states()[0]
    assert (told.phase, told.generation) == (Phase.ACTIVE, 3)
    assert told.benchmark == a_report(FIRST)


def test_without_its_journal_the_pointer_still_says_what_is_active(
    state: AgentState, tmp_path: Path
) -> None:
    activate(state, 1, FIRST)
    state.journal.close()
    for path in tmp_path.glob("journal.db*"):
        path.unlink()
    again = open_state(tmp_path)
    told = again.model_states()[0]
    assert (told.phase, told.variant, told.generation) == (Phase.ACTIVE, "first", 1)
    desire(again, 1, FIRST)
    assert again.deployments["activity"].phase is Phase.ACTIVE


def test_a_lost_pointer_is_written_again(state: AgentState) -> None:
    activate(state, 1, FIRST)
    state.pointers.path("activity").write_text("{garbage")
    assert len(state.reconcile()) == 1
    assert active_name(state) == "first"
    assert state.reconcile() == []


def test_a_lost_file_is_deployed_again(state: AgentState) -> None:
    activate(state, 1, FIRST)
    state.pointers.path("activity").unlink()
    state.blobs.path(FIRST.variant.digest).unlink()
    state.reconcile()
    assert state.deployments["activity"].phase is Phase.OFFERED


def test_a_rollback_cut_short_is_finished(state: AgentState, tmp_path: Path) -> None:
    """Killed between persisting the phase and moving the pointer."""
    activate(state, 1, FIRST)
    activate(state, 2, SECOND)
    pointer = state.pointers.read("activity")
    assert pointer is not None
    state.withdraw("activity", "by hand")
    state.pointers.write("activity", pointer)
    state.journal.close()
    again = open_state(tmp_path)
    again.reconcile()
    assert active_name(again) == "first"


def test_a_pointer_that_cannot_be_written_is_a_storage_error_and_is_resumed(
    state: AgentState,
) -> None:
    desire(state, 1, FIRST)
    store(state, FIRST)
    for event in (Weighed(None), Fetched(1), Verified()):
        state.apply("activity", event)
    blocker = state.state_dir / "models"
    blocker.touch()
    with pytest.raises(StorageError):
        state.apply("activity", Proved(a_report(FIRST)))
    assert state.deployments["activity"].phase is Phase.ACTIVATING
    blocker.unlink()
    assert state.resume("activity", after_crash=False) == ()
    assert active_name(state) == "first"


def test_effects_of_the_worker_are_handed_on(state: AgentState) -> None:
    desire(state, 1, FIRST)
    assert state.apply("activity", Weighed(None)) == (Effect.FETCH,)


def test_an_application_sees_changes(state: AgentState) -> None:
    with pytest.raises(UnknownModelError, match="activity"):
        model("activity", state.state_dir)
    activate(state, 1, FIRST)
    seen = model("activity", state.state_dir)
    assert seen.path.read_bytes() == b"first"
    assert (seen.runtime, seen.generation, seen.changed()) == ("onnxruntime", 1, False)
    desire(state, 2, FIRST)
    assert not seen.changed()
    activate(state, 3, SECOND)
    assert seen.changed()
    assert seen.path.read_bytes() == b"first"


@pytest.mark.parametrize("name", ["../activity", "", "a/b", "A"])
def test_a_model_name_never_leaves_the_folder(state: AgentState, name: str) -> None:
    assert state.pointers.read(name) is None


def withdraw_in(state: AgentState, generation: int) -> dict[str, tuple[Effect, ...]]:
    desired = Desired(device="d", sent_at=NOW, generation=generation, withdrawn=("activity",))
    effects, refused = state.accept(desired)
    assert refused is None
    return effects


def test_a_withdrawn_model_returns_to_the_previous_or_to_none(state: AgentState) -> None:
    activate(state, 1, FIRST)
    activate(state, 2, SECOND)
    withdraw_in(state, 3)
    assert active_name(state) == "first"
    told = state.model_states()[0]
    assert (told.phase, told.generation) == (Phase.ROLLED_BACK, 3)
    assert told.failure is not None
    assert told.failure.reason is FailureReason.WITHDRAWN


def test_a_first_variant_that_is_withdrawn_leaves_nothing_active(state: AgentState) -> None:
    activate(state, 1, FIRST)
    withdraw_in(state, 2)
    assert active_name(state) is None
    assert not state.blobs.has(FIRST.variant.digest)


def test_withdrawing_ends_what_is_under_way(state: AgentState) -> None:
    activate(state, 1, FIRST)
    desire(state, 2, SECOND)
    state.apply("activity", Weighed(None))
    assert Effect.STOP_WORK in withdraw_in(state, 3)["activity"]
    assert active_name(state) == "first"
    assert state.deployments["activity"].phase is Phase.ROLLED_BACK


def test_withdrawing_what_was_rolled_back_only_answers(state: AgentState) -> None:
    activate(state, 1, FIRST)
    desire(state, 2, SECOND)
    state.apply("activity", Failed(FailureReason.NOT_FOUND, "gone"))
    withdraw_in(state, 3)
    told = state.model_states()[0]
    assert (told.phase, told.generation) == (Phase.ROLLED_BACK, 3)
    assert told.failure is not None
    assert told.failure.reason is FailureReason.NOT_FOUND
    assert active_name(state) == "first"


def test_a_file_that_vanished_is_deployed_again(state: AgentState, tmp_path: Path) -> None:
    """Headquarters must not see green where applications find nothing."""
    activate(state, 1, FIRST)
    state.blobs.path(FIRST.variant.digest).unlink()
    reopened = open_state(tmp_path)
    assert len(reopened.reconcile()) == 1
    assert reopened.deployments["activity"].phase is Phase.OFFERED


def a_tuning(assignment: Assignment, threads: int = 4, **options: Any) -> SessionTuning:
    return SessionTuning(
        digest=assignment.variant.digest,
        fingerprint=a_report(assignment).fingerprint,
        threads=threads,
        p50_seconds=0.001,
        reference_p50_seconds=0.002,
        candidates=3,
        measured_at=NOW,
        **options,
    )


def test_tuned_options_reach_the_application_and_stay(state: AgentState, tmp_path: Path) -> None:
    activate(state, 1, FIRST)
    seen = model("activity", state.state_dir)
    tuning = a_tuning(FIRST, affinity=(2, 3), arena=False)
    assert state.tuned("activity", tuning)
    assert seen.changed()
    options = {"threads": 4, "affinity": [2, 3], "providers": [], "arena": False}
    assert model("activity", state.state_dir).session_options == options
    assert state.model_states()[0].tuning == tuning
    state.pointers.path("activity").unlink()  # a lost pointer is written again with them
    state.reconcile()
    assert model("activity", state.state_dir).session_options == options


def test_a_variant_that_comes_back_is_tuned_already(state: AgentState) -> None:
    activate(state, 1, FIRST)
    state.tuned("activity", a_tuning(FIRST))
    activate(state, 2, SECOND)
    assert model("activity", state.state_dir).session_options["threads"] == 1
    activate(state, 3, THIRD)  # evicts the first
    activate(state, 4, FIRST)
    assert model("activity", state.state_dir).session_options["threads"] == 4


def test_tuned_providers_replace_those_of_the_trial(state: AgentState) -> None:
    activate(state, 1, FIRST)
    providers = ("CUDAExecutionProvider", "CPUExecutionProvider")
    state.tuned("activity", a_tuning(FIRST, providers=providers))
    assert model("activity", state.state_dir).session_options["providers"] == list(providers)


def test_a_tuning_of_what_is_gone_changes_nothing(state: AgentState) -> None:
    activate(state, 1, FIRST)
    before = state.pointers.path("activity").read_bytes()
    assert not state.tuned("activity", a_tuning(SECOND))
    assert not state.tuned("nothing", a_tuning(FIRST))
    assert state.pointers.path("activity").read_bytes() == before


def test_what_is_not_tuned_for_this_device_is_known(state: AgentState) -> None:
    activate(state, 1, FIRST)
    here, elsewhere = a_report(FIRST).fingerprint, "f" * 16
    assert state.untuned(here) == ["activity"]
    state.tuned("activity", a_tuning(FIRST))
    assert (state.untuned(here), state.untuned(elsewhere)) == ([], ["activity"])


def test_limits_that_are_reaffirmed_otherwise_hold_while_another_is_under_way(
    state: AgentState,
) -> None:
    """Applications use the pair until the next one is active, by the limits that were told last."""

    def pair(ratio: float) -> Assignment:
        low_power = LowPower(variant=a_variant("small"), below_charge_ratio=ratio)
        return an_assignment("big", low_power=low_power)

    desire(state, 1, pair(0.2))
    for one in (pair(0.2), an_assignment("small")):
        store(state, one)
    for event in (Weighed(None), Fetched(1), Verified()):
        state.apply("activity", event)
    state.keep_low_power_proof("activity", a_report(an_assignment("small")))
    state.apply("activity", Proved(a_report(pair(0.2))))
    desire(state, 2, pair(0.5))
    assert state.deployments["activity"].phase is Phase.ACTIVE
    desire(state, 3, THIRD)
    pointer = state.pointers.read("activity")
    assert pointer is not None
    limits = state.limits_of("activity", pointer.active)
    assert limits is not None
    assert limits.below_charge_ratio == 0.5
