"""Which session options win: candidates, halving and the final comparison, without a clock."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_runtime.contest import (
    FINAL_ROUNDS,
    MIN_GAIN,
    Measure,
    beats,
    best_of,
    cpu_candidates,
    hold_contest,
    survivors,
)
from fitment_runtime.errors import InferenceFailure, LoadFailure
from fitment_runtime.session import SessionOptions

ONE = SessionOptions()
Cost = Callable[[SessionOptions], float]


def shape(options: SessionOptions) -> tuple[int, tuple[int, ...]]:
    return options.threads, options.affinity


def noisy(cost: Cost, spread: float, seed: int = 0) -> Measure:
    """Measures `cost` with lognormal noise."""
    source = random.Random(seed)
    return lambda options: cost(options) * source.lognormvariate(0, spread)


def winner(cost: Cost, cores: int = 8, spread: float = 0.01, seed: int = 0) -> SessionOptions:
    candidates = cpu_candidates(ONE, range(cores))
    return best_of(hold_contest(ONE, candidates, noisy(cost, spread, seed)))


@pytest.mark.parametrize(
    ("cores", "clusters", "expected"),
    [
        (1, [], []),
        (2, [], [(2, ())]),
        (4, [], [(2, ()), (4, ())]),
        (6, [range(6)], [(2, ()), (4, ()), (6, ())]),
        (4, [[2, 3], [0, 1]], [(2, ()), (4, ()), (1, (2, 3)), (2, (2, 3))]),
        (
            8,
            [[7], [4, 5, 6], [0, 1, 2, 3]],
            [(2, ()), (4, ()), (8, ()), (1, (7,)), (2, (4, 5, 6, 7)), (4, (4, 5, 6, 7))],
        ),
        (2, [[4, 5], [0, 1]], [(2, ())]),  # the fast cores are not for this process
    ],
)
def test_candidates_of_usual_chips(
    cores: int, clusters: list[list[int]], expected: list[tuple[int, tuple[int, ...]]]
) -> None:
    assert [shape(one) for one in cpu_candidates(ONE, range(cores), clusters)] == expected


@given(
    st.sets(st.integers(0, 63), min_size=1),
    st.lists(st.lists(st.integers(0, 80), max_size=8), max_size=4),
)
def test_candidates_are_few_and_fit_the_cores(cores: set[int], clusters: list[list[int]]) -> None:
    found = cpu_candidates(ONE, sorted(cores), clusters)
    assert ONE not in found
    assert len(set(found)) == len(found) <= 7 + 4 * len(clusters)
    for options in found:
        assert set(options.affinity) < cores
        assert 1 <= options.threads <= len(options.affinity or cores)


def test_the_fastest_wins_where_it_is_worth_it() -> None:
    assert winner(lambda one: 1 / one.threads).threads == 8
    assert winner(lambda one: 1 / min(one.threads, 4)).threads == 4


def test_more_threads_for_nothing_are_not_taken() -> None:
    assert winner(lambda one: 1 - 0.001 * one.threads) == ONE
    assert winner(lambda one: float(one.threads)) == ONE


def test_noise_alone_seldom_displaces_the_simplest() -> None:
    """Seven candidates that are alike in truth, with 5 % of noise in every measurement."""
    found = [winner(lambda one: 1.0, cores=64, spread=0.05, seed=seed) for seed in range(200)]
    assert found.count(ONE) >= 190


@given(st.lists(st.floats(0.001, 10), min_size=3, max_size=12), st.floats(0.5, 2.0))
def test_what_scales_every_round_decides_nothing_else(rounds: list[float], factor: float) -> None:
    """A machine that grows slower from round to round slows both alike."""
    challenger = [value * factor for value in rounds]
    assert beats(challenger, rounds) == (factor < 1 - MIN_GAIN - 1e-12)


def test_two_rounds_prove_nothing() -> None:
    assert not beats([0.1, 0.1], [1.0, 1.0])


def test_a_candidate_that_cannot_run_is_out() -> None:
    def measure(options: SessionOptions) -> float:
        if options.threads > 2:
            raise LoadFailure("no memory for so many threads")
        return 1 / options.threads

    blocks = hold_contest(ONE, cpu_candidates(ONE, range(8)), measure)
    assert best_of(blocks).threads == 2
    assert {one.threads for one in blocks} == {1, 2}


def test_a_candidate_that_fails_later_is_out_too() -> None:
    calls = 0

    def measure(options: SessionOptions) -> float:
        nonlocal calls
        calls += 1
        if options.threads == 2 and calls > 8:
            raise InferenceFailure("it ran before")
        return 1 / options.threads

    assert best_of(hold_contest(ONE, (SessionOptions(threads=2),), measure)) == ONE


def test_a_reference_that_cannot_run_is_the_models_fault() -> None:
    def measure(options: SessionOptions) -> float:
        raise LoadFailure("no model")

    with pytest.raises(LoadFailure):
        hold_contest(ONE, cpu_candidates(ONE, range(4)), measure)


def test_without_time_the_reference_stands() -> None:
    calls: list[SessionOptions] = []

    def measure(options: SessionOptions) -> float:
        calls.append(options)
        return 1 / options.threads

    blocks = hold_contest(ONE, cpu_candidates(ONE, range(8)), measure, has_time=lambda: False)
    assert best_of(blocks) == ONE
    assert len(calls) == 4  # one round of the finals


def test_the_slow_are_measured_less_often_than_the_finalists() -> None:
    counts: dict[int, int] = {}

    def measure(options: SessionOptions) -> float:
        counts[options.threads] = counts.get(options.threads, 0) + 1
        return 1 / options.threads

    blocks = hold_contest(ONE, cpu_candidates(ONE, range(64)), measure)
    assert counts[2] < counts[64] == counts[1]
    # The rounds that picked the finalists do not count for them.
    assert {len(taken) for taken in blocks.values()} == {FINAL_ROUNDS}


blocks_of_any_kind = st.dictionaries(
    st.builds(SessionOptions, threads=st.integers(1, 64), affinity=st.just(()) | st.just((1,))),
    st.lists(st.floats(1e-6, 10), min_size=2, max_size=2),
    min_size=1,
    max_size=12,
)


@given(blocks_of_any_kind)
def test_halving_ends_and_keeps_the_fastest(blocks: dict[SessionOptions, list[float]]) -> None:
    blocks = {ONE: [1.0, 1.0], **blocks}
    fastest = min(blocks, key=lambda one: sum(blocks[one]))
    while len(blocks) > 3:
        kept = survivors(ONE, blocks)
        assert ONE in kept
        assert fastest in kept
        assert len(kept) < len(blocks)
        blocks = {one: taken for one, taken in blocks.items() if one in kept}
    assert survivors(ONE, blocks) == set(blocks)


def test_simpler_options_that_are_as_fast_survive_the_halving() -> None:
    taken = {SessionOptions(threads=count): [1.0 - count / 1e4] * 2 for count in (1, 2, 4, 8, 16)}
    assert SessionOptions(threads=2) in survivors(ONE, taken)
