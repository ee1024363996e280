"""A portfolio folder appears whole, replaces only its like, and marks who is not beaten."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_compress.errors import OutputError
from fitment_compress.fronts import dominates
from fitment_compress.jobs import Built, Measured, ModelFile, Prepared
from fitment_compress.measure import paired_difference
from fitment_compress.pareto import draw
from fitment_compress.portfolio import (
    Outcome,
    entries,
    refuse_foreign_folder,
    write_portfolio,
)
from fitment_compress.recipe import Recipe
from fitment_compress.report import print_portfolio
from fitment_compress.wording import difference_text
from fitment_compress.workshop import Stage
from fitment_contract.artifact import Artifact
from fitment_contract.benchmark import (
    Agreement,
    BenchmarkReport,
    Difference,
    Latency,
    MetricSpec,
    Score,
)
from fitment_contract.portfolio import DataSplit, Portfolio, SourceModel
from fitment_contract.variant import Golden, Needs, RecipeStep, Variant

MOMENT = datetime(2026, 1, 1, tzinfo=timezone.utc)
PREPARED = Prepared(
    source=SourceModel(
        file_name="m.onnx",
        digest="a" * 64,
        size_bytes=9,
        opset=17,
        inputs=(),
        outputs=(),
        parameters=10,
    ),
    data=DataSplit(
        calibration_count=1, evaluation_count=4, evaluation_share_labelled=1.0, source="d.npz"
    ),
    metric=MetricSpec(name="top1"),
    classification=True,
)


def outcome(
    name: str, value: float, seconds: float, size: int, *, higher_is_better: bool = True
) -> Outcome:
    """A candidate that was measured like this."""
    recipe = Recipe(name, () if name == "fp32" else (RecipeStep(technique="fp16"),))
    variant = Variant(
        name=name,
        model="m",
        format="onnx",
        precision="fp32",
        artifact=Artifact(digest="b" * 64, size_bytes=size),
        compressed_bytes=size,
        needs=Needs(runtime="onnxruntime"),
    )
    latency = Latency(
        p50_seconds=seconds,
        p90_seconds=seconds,
        p95_seconds=seconds,
        p99_seconds=seconds,
        mean_seconds=seconds,
        count=9,
        threads=1,
    )
    score = Score(
        metric="top1" if higher_is_better else "regression",
        value=value,
        standard_error=0.01,
        count=4,
        higher_is_better=higher_is_better,
    )
    report = BenchmarkReport(
        id="1",
        model="m",
        variant=name,
        digest="b" * 64,
        fingerprint="0" * 16,
        runtime="onnxruntime",
        runtime_version="1",
        started_at=MOMENT,
        latency=latency,
        load_seconds=0,
        first_inference_seconds=0,
        peak_memory_bytes=0,
        scores=(score,),
    )
    agreed = Agreement(value=1, count=4, max_abs_difference=0)
    built = Built(
        format="onnx",
        precision="fp32",
        traits=(),
        opset=17,
        artifact=variant.artifact,
        compressed_bytes=size,
        golden=Golden(artifact=variant.artifact, tolerance=0.1),
        inputs=(),
        outputs=(),
        seconds=1.0,
    )
    source = Stage(
        file=ModelFile(key=name),
        step=None,
        built=built,
        variant=variant,
        measured=Measured(report=report, agreement=agreed),
    )
    stages = [source, *(replace(source, step=step) for step in recipe.steps)]
    return Outcome(recipe, tuple(stages))


def portfolio(*outcomes: Outcome) -> Portfolio:
    return Portfolio(
        model="m",
        created_at=MOMENT,
        source=PREPARED.source,
        data=PREPARED.data,
        metric=PREPARED.metric,
        baseline="fp32",
        build_host="a <test> host",
        entries=entries(outcomes),
    )


def front(*outcomes: Outcome) -> set[str]:
    return {entry.name for entry in entries(outcomes) if entry.pareto}


def test_the_front_holds_whoever_is_best_in_something() -> None:
    listed = (
        outcome("fp32", 0.9, 2e-3, 100),
        outcome("fast", 0.8, 1e-3, 100),
        outcome("small", 0.7, 3e-3, 10),
        outcome("beaten", 0.8, 2e-3, 100),
    )
    assert front(*listed) == {"fp32", "fast", "small"}


def test_lower_is_better_where_the_metric_says_so() -> None:
    exact = outcome("fp32", 0.1, 1e-3, 100, higher_is_better=False)
    coarse = outcome("coarse", 0.5, 1e-3, 100, higher_is_better=False)
    assert front(exact, coarse) == {"fp32"}


def test_failed_recipes_are_listed_with_their_reason() -> None:
    failed = Outcome(Recipe("int8"), failure="It has no convolution.")
    made = portfolio(outcome("fp32", 0.9, 1e-3, 100), failed)
    entry = made.entry("int8")
    assert entry is not None
    assert (entry.status.value, entry.failure) == ("failed", "It has no convolution.")
    assert [listed.name for listed in made.listed()] == ["fp32"]


Costs = st.tuples(*[st.integers(0, 3)] * 3)


@given(Costs, Costs, Costs)
def test_dominance_is_a_strict_order(a: list[int], b: list[int], c: list[int]) -> None:
    assert not dominates(a, a)
    assert not (dominates(a, b) and dominates(b, a))
    if dominates(a, b) and dominates(b, c):
        assert dominates(a, c)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [(-0.01, 0.006, "no difference"), (-0.02, 0.006, "-2.0 pt"), (0.0, 0.0, "no difference")],
)
def test_differences_within_two_standard_errors_are_called_none(
    value: float, error: float, text: str
) -> None:
    assert difference_text("top1", Difference(value=value, standard_error=error, count=9)) == text


def test_the_error_of_a_difference_counts_only_samples_that_differ() -> None:
    """Two of 100 samples flipped, one each way: no difference, and little doubt about it."""
    baseline = np.ones(100)
    baseline[0] = 0.0
    values = np.ones(100)
    values[1] = 0.0
    difference = paired_difference(values, baseline)
    assert difference.value == 0.0
    assert difference.standard_error == pytest.approx((2 / 99) ** 0.5 / 10)


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_a_narrow_terminal_loses_columns_and_no_digits(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Terminal()
    print_portfolio(portfolio(outcome("fp32", 0.9, 1e-3, 100)), screen)
    table = screen.getvalue()
    assert "90.0 ± 1.0 %" in table
    assert "1 ms" in table
    assert "…" not in table
    assert ("agrees" in table) == (columns > 100)


def test_a_folder_is_written_whole_and_replaced(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"content")
    target = tmp_path / "deep" / "out"
    made = portfolio(outcome("fp32", 0.9, 1e-3, 100))
    for name in ("old", "new"):
        write_portfolio(target, made, {"pareto.svg": f"<svg>{name}</svg>"}, [(name * 8, blob)])
    assert (target / "pareto.svg").read_text() == "<svg>new</svg>"
    assert [path.name for path in (target / "blobs").iterdir()] == ["new" * 8]
    assert Portfolio.model_validate_json((target / "portfolio.json").read_text()) == made
    assert [path.name for path in target.parent.iterdir()] == ["out"], "nothing is left behind"


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="--out"):
        refuse_foreign_folder(tmp_path)
    (tmp_path / "portfolio.json").write_text(json.dumps({"kind": "Album"}))
    with pytest.raises(OutputError, match="not a portfolio folder"):
        refuse_foreign_folder(tmp_path)


def test_the_current_folder_is_not_replaced_under_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (Path("."), tmp_path, Path("/proc")):
        with pytest.raises(OutputError, match="current folder or a mount point"):
            refuse_foreign_folder(folder)


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    refuse_foreign_folder(tmp_path)
    refuse_foreign_folder(tmp_path / "absent")


def test_a_folder_that_cannot_be_written_is_the_outputs_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Cannot write"):
        write_portfolio(tmp_path / "file" / "out", portfolio(outcome("fp32", 1, 1, 1)), {}, [])


@pytest.mark.parametrize(
    "outcomes",
    [
        [outcome("fp32", 0.9, 1e-3, 100)],
        [outcome("fp32", 0.9, 1e-3, 100), outcome("collapsed", 0.04, 1e-4, 10)],
        [outcome("fp32", 0.0, 1e-3, 100), outcome("same", 0.0, 1e-3, 100)],
        [
            outcome("fp32", 3.2, 1e-1, 100, higher_is_better=False),
            outcome("off", 90.0, 5.0, 9, higher_is_better=False),
        ],
    ],
)
def test_the_picture_shows_every_variant_within_its_frame(outcomes: list[Outcome]) -> None:
    root = ElementTree.fromstring(draw(portfolio(*outcomes)))
    _, _, width, height = (float(part) for part in root.attrib["viewBox"].split())
    text = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for number, made in enumerate(outcomes, start=1):
        assert made.recipe.name in text
        assert text.count(str(number)) == 2, "beside the dot and in the list"
    for circle in root.iter("{http://www.w3.org/2000/svg}circle"):
        assert 0 <= float(circle.attrib["cx"]) <= width
        assert 0 <= float(circle.attrib["cy"]) <= height
