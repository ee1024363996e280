"""Students cut out of their teacher's own graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from pydantic import ValidationError

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import constants, count_parameters, replace_initializer
from fitment_compress.macs import count_macs
from fitment_compress.pipeline import build
from fitment_compress.structure.graphs import copy_of
from fitment_compress.techniques.base import Context, Findings
from fitment_compress.techniques.distil import DistilOptions, agreement, derive, hold_out
from fitment_contract.variant import RecipeStep
from fitment_runtime.dataset import Dataset
from support.structure_models import feeds_of, residual_network, run

torch = pytest.importorskip("torch", reason="needs PyTorch: make test-train")
pytestmark = pytest.mark.train
torch.set_num_threads(1)

QUICK: dict[str, Any] = {"epochs": 6, "batch": 32, "rate": 0.01, "width": 0.5, "multiple_of": 4}


def teacher() -> onnx.ModelProto:
    """A residual network that finds its four classes about equally often."""
    model = residual_network(width=16)
    logits = run(model, feeds_of(model, 100))
    head = model.graph.node[-1].input
    bias, weight = constants(model)[head[2]], constants(model)[head[1]]
    spread = logits.std(axis=0)
    replace_initializer(model, head[1], weight / spread)
    replace_initializer(model, head[2], (bias - logits.mean(axis=0)) / spread)
    return model


def samples(count: int, seed: int, label: Any = None) -> Dataset:
    images = np.random.default_rng(seed).normal(size=(count, 1, 8, 8)).astype(np.float32)
    return Dataset({"x": images}, label, None)


def context(folder: Path, model: onnx.ModelProto, training: Dataset | None) -> Context:
    onnx.save(model, folder / "source.onnx")
    feeds = feeds_of(model, 40)
    source = folder / "source.onnx"
    return Context(feeds, folder, source=source, training=training, findings=Findings())


def distilled(model: onnx.ModelProto, given: Context, **options: Any) -> onnx.ModelProto:
    step = RecipeStep(technique="distil", options={**QUICK, **options})
    made = build(copy_of(model), [step], given).model
    onnx.checker.check_model(made, full_check=True)
    return made


def equal_decisions(one: onnx.ModelProto, other: onnx.ModelProto) -> float:
    feeds = feeds_of(one, 300, seed=77)
    return agreement(run(one, feeds), run(other, feeds))


@pytest.mark.parametrize("init", ["inherit", "fresh"])
def test_a_narrower_student_learns_without_labels(tmp_path: Path, init: str) -> None:
    model = teacher()
    given = context(tmp_path, model, samples(400, seed=1))
    options = DistilOptions(**{**QUICK, "init": init})
    start = derive(copy_of(model), options, given)
    student = distilled(model, given, init=init)
    assert count_parameters(student) < 0.4 * count_parameters(model)
    assert equal_decisions(student, model) > equal_decisions(start, model) + 0.03
    assert equal_decisions(student, model) > 0.6


def test_the_three_ways_to_be_smaller_go_together(tmp_path: Path) -> None:
    model = teacher()
    given = context(tmp_path, model, samples(64, seed=1))
    student = distilled(model, given, epochs=1, width=0.5, depth=0.5, depthwise=True)
    assert (count_macs(student) or 0) < 0.3 * (count_macs(model) or 0)
    kinds = [node.op_type for node in student.graph.node]
    assert kinds.count("Add") < [node.op_type for node in model.graph.node].count("Add")
    stored = constants(student)
    layers = [stored[node.input[1]] for node in student.graph.node if node.op_type == "Conv"]
    assert all(weight.shape[1] == 1 or weight.shape[2:] == (1, 1) for weight in layers[1:])
    assert run(student, feeds_of(model, 2)).shape == (2, 4)


def test_the_best_of_several_students_is_kept_and_all_are_reported(tmp_path: Path) -> None:
    model = teacher()
    training = samples(200, seed=1)
    given = context(tmp_path, model, training)
    kept = distilled(model, given, epochs=2, init="fresh", seeds=3)
    (note,) = [note for note in given.findings.notes if "seed" in note]
    told = [float(part.split(": ")[1]) for part in note.split("(")[1].split(")")[0].split(", ")]
    _, held = hold_out(training, 0)
    feeds = [held.feeds(index) for index in range(len(held))]
    assert agreement(run(kept, feeds), run(model, feeds)) == pytest.approx(max(told), abs=1e-4)
    assert len(told) == 3


def test_labels_decide_among_students_where_there_are_some(tmp_path: Path) -> None:
    model = teacher()
    images = samples(200, seed=1)
    feeds = [images.feeds(index) for index in range(200)]
    opposite = (run(model, feeds).argmax(axis=1) + 1) % 4
    given = context(tmp_path, model, samples(200, seed=1, label=opposite))
    distilled(model, given, epochs=3, seeds=2, label_weight=0.0)
    (note,) = [note for note in given.findings.notes if "seed" in note]
    told = [float(part.split(": ")[1]) for part in note.split("(")[1].split(")")[0].split(", ")]
    assert max(told) < 0.4  # taught by the teacher alone, asked about labels that contradict it


def test_equal_seeds_make_equal_students(tmp_path: Path) -> None:
    model = teacher()
    given = context(tmp_path, model, samples(64, seed=1))
    one, other = (distilled(model, given, epochs=1, init="fresh") for _ in range(2))
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


def test_students_of_other_seeds_begin_elsewhere(tmp_path: Path) -> None:
    model = teacher()
    given = context(tmp_path, model, samples(64, seed=1))
    quiet = {"epochs": 0.1, "rate": 1e-9, "init": "fresh", "batch_norm": False}
    one, other = (distilled(model, replace(given, seed=seed), **quiet) for seed in (1, 2))
    weights = [constants(made)["conv0.w"].ravel() for made in (one, other)]
    assert abs(np.corrcoef(*weights)[0, 1]) < 0.5


def test_a_student_as_large_as_its_teacher_is_refused() -> None:
    with pytest.raises(ValidationError, match="a student is smaller"):
        DistilOptions(width=1.0)


def test_a_depth_that_leaves_nothing_out_is_refused(tmp_path: Path) -> None:
    model = teacher()
    with pytest.raises(TechniqueError, match=r"depth of 0\.99 all \d blocks .*Lower `depth`"):
        distilled(model, context(tmp_path, model, samples(8, seed=1)), width=1.0, depth=0.99)


def test_choosing_needs_samples(tmp_path: Path) -> None:
    model = teacher()
    with pytest.raises(TechniqueError, match="too few samples to choose"):
        distilled(model, context(tmp_path, model, samples(1, seed=1)), seeds=2)


def test_held_out_samples_are_never_learnt_from() -> None:
    training = samples(50, seed=1)
    learnt, held = hold_out(training, seed=3)
    together = np.concatenate([learnt.inputs["x"], held.inputs["x"]])
    assert len(held) == 5
    assert sorted(together.sum(axis=(1, 2, 3)).tolist()) == pytest.approx(
        sorted(training.inputs["x"].sum(axis=(1, 2, 3)).tolist())
    )


def test_agreement_of_models_that_are_no_classifiers_is_explained_variance() -> None:
    wanted = np.linspace(0, 1, 50)[:, None]
    assert agreement(wanted, wanted) == 1.0
    assert agreement(np.full_like(wanted, 0.5), wanted) == pytest.approx(0.0)
