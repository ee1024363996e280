"""What a power cut leaves of a disk's writes: the rules of the replay, on a disk of four blocks."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tools.powercut.events import BLOCK_BYTES, Crash, Event, Kind, Loss, crashes, unpacked

BLOCKS = 4
BASE = b"0" * (BLOCKS * BLOCK_BYTES)


def write(block: int, letter: str, blocks: int = 1) -> Event:
    return Event(Kind.WRITE, block * BLOCK_BYTES, letter.encode() * (blocks * BLOCK_BYTES))


def summary(crash: Crash) -> str:
    """One letter a block; every block is whole."""
    found = [crash.image[at : at + BLOCK_BYTES] for at in range(0, len(BASE), BLOCK_BYTES)]
    assert all(len(set(block)) == 1 for block in found)
    return "".join(chr(block[0]) for block in found)


def images(events: Sequence[Event], loss: Loss, times: int = 40) -> set[str]:
    """Every disk that a cut after all events leaves."""
    found: set[str] = set()
    for seed in range(times):
        chance = random.Random(seed)
        found |= {summary(crash) for crash in crashes(BASE, events, [len(events)], [loss], chance)}
    return found


FLUSHED_A_THEN_B_AND_C = [write(0, "a"), Event(Kind.FLUSH), write(1, "b"), write(2, "c")]


def test_what_was_flushed_stays_and_the_rest_may_be_there_in_any_combination() -> None:
    assert images(FLUSHED_A_THEN_B_AND_C, Loss.WRITES) == {"a000", "ab00", "a0c0", "abc0"}
    assert images(FLUSHED_A_THEN_B_AND_C, Loss.NONE) == {"abc0"}


def test_a_long_write_arrives_whole_or_in_parts() -> None:
    long = [write(0, "d", blocks=2)]
    assert images(long, Loss.WRITES) == {"0000", "dd00"}
    assert images(long, Loss.BLOCKS) == {"0000", "dd00", "d000", "0d00"}


def test_of_two_writes_to_one_place_the_later_may_be_lost_alone() -> None:
    assert images([write(0, "x"), write(0, "y")], Loss.WRITES) == {"0000", "x000", "y000"}


def test_only_what_was_told_before_the_cut_was_told() -> None:
    events = [write(0, "a"), Event(Kind.MARK, 0, b"one"), Event(Kind.FLUSH), write(1, "b")]
    found = crashes(BASE, events, [4, 1, 2, 0], [Loss.NONE], random.Random(0))
    assert [(crash.cut, summary(crash), crash.marks) for crash in found] == [
        (0, "0000", ()),
        (1, "a000", ()),
        (2, "a000", ("one",)),
        (4, "ab00", ("one",)),
    ]


@given(
    st.lists(
        st.builds(
            Event,
            st.sampled_from(Kind),
            st.integers(min_value=0, max_value=2**63),
            st.binary(max_size=20),
        )
    )
)
def test_a_log_is_read_as_it_was_written(events: list[Event]) -> None:
    assert unpacked(b"".join(event.packed() for event in events)) == events
