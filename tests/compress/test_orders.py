"""The same techniques in other orders are found, ranked, and told apart only by what was seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_compress.fronts import PAIRS, Quantity, candidates, dominates, front, picks
from fitment_compress.orders import explain, order_groups, rank, score_difference
from fitment_compress.wording import is_significant
from support.portfolio_samples import CHANNELS, INT8, PRUNE, RECOVER, Made, rich, sample, step

BASELINE = Made("fp32", score=0.9)
FIRST = Made("first", (PRUNE, INT8), score=0.89, transferred=60_000, seconds=70e-6)
SECOND = Made("second", (INT8, PRUNE), score=0.87, transferred=50_000, seconds=60e-6)


def explained(*made: Made, higher_is_better: bool = True) -> str:
    metric = "top1" if higher_is_better else "regression"
    portfolio = sample(BASELINE, *made, metric=metric, higher_is_better=higher_is_better)
    (group,) = order_groups(portfolio)
    return explain(group)


def test_orders_are_the_same_techniques_with_the_same_options() -> None:
    other_options = Made("other", (step("magnitude-prune", sparsity=0.5), INT8))
    subset = Made("subset", (PRUNE,))
    groups = order_groups(sample(BASELINE, FIRST, other_options, SECOND, subset))
    assert [[one.name for one in group.ranked] for group in groups] == [["first", "second"]]


def test_one_order_under_two_names_is_no_choice_of_order() -> None:
    assert order_groups(sample(BASELINE, FIRST, replace(FIRST, name="again"))) == ()


def test_the_better_score_wins_though_it_is_larger_and_slower() -> None:
    assert explained(SECOND, FIRST) == (
        "first (magnitude-prune → int8-static) wins by 2.0 ± 0.3 pt of top1 over "
        "second (int8-static → magnitude-prune), at 60.0 kB against 50.0 kB, 70 µs against 60 µs."
    )


def test_under_two_standard_errors_bytes_decide() -> None:
    told = explained(FIRST, replace(SECOND, score=0.889))
    assert told.startswith("second (int8-static → magnitude-prune) and first")
    assert "no difference in top1; the first wins with fewer transferred bytes" in told
    assert "50.0 kB against 60.0 kB" in told


def test_where_bytes_are_alike_latency_decides() -> None:
    told = explained(FIRST, replace(SECOND, score=0.889, transferred=60_100))
    assert told.startswith("second")
    assert told.endswith("the first wins by latency, 60 µs against 70 µs.")


def test_nothing_is_made_of_chance() -> None:
    assert explained(FIRST, replace(FIRST, name="second", steps=SECOND.steps)).endswith(
        "are about as large and as fast: neither wins."
    )


def test_lower_is_better_where_the_metric_says_so() -> None:
    assert explained(FIRST, SECOND, higher_is_better=False).startswith("second")


def test_orders_that_fail_are_part_of_the_story() -> None:
    failed = Made("failed", SECOND.steps, failure="No.")
    (group,) = order_groups(sample(BASELINE, FIRST, failed))
    assert [entry.name for entry in group.failed] == ["failed"]
    assert explain(group) == "first (magnitude-prune → int8-static) is the only order that works."
    assert explained(replace(FIRST, failure="No."), failed) == "No order works."


def test_three_orders_are_ranked_and_the_last_is_named() -> None:
    (group,) = order_groups(rich())
    names = [one.name for one in group.ranked]
    assert names == ["prune80-recover-int8", "prune80-int8-recover", "int8-prune80-recover"]
    assert "the last, int8-prune80-recover" in explain(group)
    assert "is 2.6 ± 0.3 pt behind" in explain(group)


def test_without_differences_the_scores_own_errors_count() -> None:
    listed = candidates(sample(BASELINE, FIRST, SECOND, compared=False))
    difference = score_difference(listed[1], listed[2])
    assert difference.value == pytest.approx(0.02)
    assert difference.standard_error == pytest.approx(0.0027 * 2**0.5)


ORDERS = (
    (PRUNE, RECOVER, INT8),
    (PRUNE, INT8, RECOVER),
    (INT8, PRUNE, RECOVER),
    (RECOVER, PRUNE, INT8),
)
Numbers = st.tuples(
    st.integers(80, 90),
    st.sampled_from([0.0, 0.005, 0.02]),
    st.integers(990, 1010),
    st.integers(95, 106),
)


@given(st.lists(Numbers, min_size=2, max_size=4))
def test_whoever_wins_is_beaten_by_nobody_and_wins_by_what_is_said(
    numbers: list[tuple[int, float, int, int]],
) -> None:
    made = [
        Made(
            f"order{place}",
            ORDERS[place],
            score=score / 100,
            difference_error=error,
            transferred=size,
            seconds=micro * 1e-6,
        )
        for place, (score, error, size, micro) in enumerate(numbers)
    ]
    (group,) = order_groups(sample(BASELINE, *made))
    winner, second = group.ranked[:2]
    assert sorted(one.name for one in group.ranked) == sorted(one.name for one in made)
    for place, one in enumerate(group.ranked):
        for later in group.ranked[place + 1 :]:
            difference = score_difference(one, later)
            assert difference.value > 0 or not is_significant(difference)
    told = explain(group)
    sizes = winner.variant.compressed_bytes, second.variant.compressed_bytes
    assert " wins by " in told or "no difference" in told
    assert "fewer transferred bytes" not in told or sizes[0] < sizes[1]
    assert "by latency" not in told or winner.seconds < second.seconds


def test_ranking_nothing_is_nothing() -> None:
    assert rank([]) == ()


@given(st.lists(Numbers, min_size=1, max_size=8))
def test_fronts_hold_whoever_nobody_dominates(
    numbers: list[tuple[int, float, int, int]],
) -> None:
    made = [
        Made(f"v{place}", score=score / 100, transferred=size, seconds=micro * 1e-6)
        for place, (score, _, size, micro) in enumerate(numbers)
    ]
    of = candidates(sample(*made))
    for pair in PAIRS:
        best = front(of, pair)
        costs = {one.name: [one.cost(quantity) for quantity in pair] for one in of}
        for one in of:
            beaten = any(dominates(costs[other.name], costs[one.name]) for other in best)
            assert (one in best) != beaten
        assert [costs[one.name][0] for one in best] == sorted(costs[one.name][0] for one in best)


def test_who_is_smallest_without_a_loss_is_not_the_smallest_of_all() -> None:
    small = Made("small", (CHANNELS,), score=0.5, transferred=9)
    kept = Made("kept", (INT8,), score=0.899, transferred=99, seconds=9e-6)
    assert [
        (words, one.name) for words, one in picks(candidates(sample(BASELINE, small, kept)))
    ] == [
        ("Smallest and fastest without a measurable loss; fastest of all", "kept"),
        ("Smallest of all", "small"),
    ]
    worse = sample(BASELINE, small, kept, metric="regression", higher_is_better=False)
    assert picks(candidates(worse))[0][1].name == "small", "a lower error is no loss"


def test_a_cost_is_lower_where_a_score_is_better() -> None:
    for higher in (True, False):
        good, bad = candidates(
            sample(
                Made("a", score=0.9 if higher else 0.1),
                Made("b", score=0.5),
                higher_is_better=higher,
            )
        )
        assert good.cost(Quantity.SCORE) < bad.cost(Quantity.SCORE)
