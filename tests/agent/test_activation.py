"""Pointers on real files: pairs of variants, and whatever else may stand in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fitment_agent.activation import LOW_POWER, NORMAL, Activation, Pair, Pointer, Pointers
from fitment_contract.base import sha256_hex


def an_activation(name: str, generation: int = 1) -> Activation:
    digest = sha256_hex(name.encode())
    return Activation(
        model="activity",
        generation=generation,
        variant=name,
        model_version=1,
        digest=digest,
        path=f"blobs/{digest}",
        runtime="onnxruntime",
        session_options={"threads": 1, "affinity": [], "providers": [], "arena": True},
        activated_at="2026-11-23T12:00:00.000+00:00",
        artifacts=(digest, sha256_hex(f"golden of {name}".encode())),
    )


BIG, SMALL, OLD, OLD_SMALL = (an_activation(name) for name in ("big", "small", "old", "old-small"))
PAIR = Pair(BIG, SMALL)


@pytest.fixture
def pointers(tmp_path: Path) -> Pointers:
    return Pointers(tmp_path)


@pytest.mark.parametrize("mode", [NORMAL, LOW_POWER])
@pytest.mark.parametrize("before", [None, Pair(OLD), Pair(OLD, OLD_SMALL, LOW_POWER)])
def test_what_was_written_is_read(pointers: Pointers, mode: str, before: Pair | None) -> None:
    pointer = Pointer(PAIR.switched(mode), before)
    pointers.write("activity", pointer)
    assert pointers.read("activity") == pointer


def test_on_top_stands_what_is_in_use_and_the_other_beside_it(pointers: Pointers) -> None:
    """An application that knows nothing of modes reads the right path all the same."""
    for mode, used, other in ((NORMAL, "big", "small"), (LOW_POWER, "small", "big")):
        pointers.write("activity", Pointer(PAIR.switched(mode)))
        content = json.loads(pointers.path("activity").read_bytes())
        found = (content["mode"], content["variant"], content["standby"]["variant"])
        assert found == (mode, used, other)


def test_one_variant_alone_is_always_in_normal_mode() -> None:
    assert Pair(BIG).switched(LOW_POWER) == Pair(BIG)


def test_a_new_pair_comes_in_the_mode_that_the_device_is_in() -> None:
    moved = Pointer(Pair(OLD, OLD_SMALL, LOW_POWER)).moved_to(PAIR)
    assert (moved.current, moved.active.mode) == (SMALL, LOW_POWER)
    assert moved.previous == OLD
    back = moved.moved_back()
    assert back is not None
    assert back.current == OLD_SMALL


def test_a_rollback_returns_to_the_variant_for_the_mode_of_now() -> None:
    """Whatever the mode was when the previous pair was in use."""
    back = Pointer(Pair(BIG, SMALL, LOW_POWER), Pair(OLD, OLD_SMALL, NORMAL)).moved_back()
    assert back is not None
    assert back.current == OLD_SMALL


def test_a_second_variant_that_changed_keeps_the_previous() -> None:
    pointer = Pointer(Pair(BIG, SMALL), Pair(OLD))
    assert pointer.moved_to(Pair(BIG, OLD_SMALL)).before == Pair(OLD)


def test_all_four_variants_and_their_files_are_spared() -> None:
    pointer = Pointer(PAIR, Pair(OLD, OLD_SMALL))
    wanted = {name for one in (BIG, SMALL, OLD, OLD_SMALL) for name in one.artifacts}
    assert pointer.artifacts() == wanted


def test_tuned_options_go_to_the_file_they_were_measured_on() -> None:
    tuned = PAIR.tuned(SMALL.digest, {"threads": 4})
    assert tuned.normal == BIG
    assert tuned.low_power is not None
    assert tuned.low_power.session_options == {**SMALL.session_options, "threads": 4}


def test_a_pointer_from_before_there_were_modes_is_read(pointers: Pointers) -> None:
    pointers.write("activity", Pointer(Pair(BIG), Pair(OLD)))
    content = json.loads(pointers.path("activity").read_bytes())
    for part in (content, content["previous"]):
        del part["mode"], part["standby"]
    pointers.path("activity").write_text(json.dumps(content))
    assert pointers.read("activity") == Pointer(Pair(BIG), Pair(OLD))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FIELDS = ("digest", "mode", "standby", "previous", "artifacts", "session_options", "model")


@given(st.sampled_from(FIELDS), anything)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_pointer_with_anything_in_it_never_raises(
    pointers: Pointers, field: str, value: Any
) -> None:
    pointers.write("activity", Pointer(PAIR, Pair(OLD, OLD_SMALL)))
    content = json.loads(pointers.path("activity").read_bytes())
    pointers.path("activity").write_text(json.dumps({**content, field: value}))
    found = pointers.read("activity")
    assert found is None or isinstance(found.current, Activation)


@given(st.binary(max_size=64) | st.builds(lambda value: json.dumps(value).encode(), anything))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_that_is_no_pointer_is_none(pointers: Pointers, content: bytes) -> None:
    pointers.path("activity").parent.mkdir(parents=True, exist_ok=True)
    pointers.path("activity").write_bytes(content)
    assert pointers.read("activity") is None
