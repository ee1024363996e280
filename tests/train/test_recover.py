"""Recovery on small models: better than before, within what earlier steps made of the model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import replace_initializer, weight_initializers
from fitment_compress.techniques.base import Context
from fitment_compress.techniques.recover import RecoverOptions
from fitment_compress.training.learn import fresh, learn
from fitment_runtime.catalog import find_runtime
from fitment_runtime.dataset import Dataset
from support.compress_models import load, random
from support.runtime_models import (
    constant,
    save,
    save_conv_classifier,
    save_gru,
    save_mlp,
    save_two_inputs,
)
from support.structure_models import dense_network
from support.train_models import agreement, balanced, images, run, save_separable, stored, taught

torch = pytest.importorskip("torch", reason="needs PyTorch: make test-train")
pytestmark = pytest.mark.train
torch.set_num_threads(1)

from fitment_compress.training.augment import augment, blend  # noqa: E402
from fitment_compress.training.network import Network  # noqa: E402
from fitment_compress.training.norm import fold_norms, give_biases, insert_norms  # noqa: E402
from fitment_compress.training.objective import (  # noqa: E402
    Objective,
    distillation_loss,
    soft_labels,
)
from fitment_compress.training.verify import refuse_difference  # noqa: E402

PRUNE = ("magnitude-prune", {"sparsity": 0.8, "refit": False})
QUICK: dict[str, Any] = {"epochs": 12, "batch": 32, "rate": 0.01}
TESTED = images(400, seed=99)


def balanced_classifier(path: Path) -> Path:
    return balanced(save_conv_classifier(path))


def recover(**options: Any) -> tuple[str, dict[str, Any]]:
    return "recover", {**QUICK, **options}


@pytest.mark.parametrize("batch_norm", [True, False])
def test_a_pruned_model_recovers_without_labels_and_stays_as_sparse(
    tmp_path: Path, batch_norm: bool
) -> None:
    source = save_separable(tmp_path / "m.onnx")
    pruned = taught(source, source, images(256), [PRUNE], tmp_path)
    better = taught(pruned, source, images(256), [recover(batch_norm=batch_norm)], tmp_path)
    assert agreement(better, source, TESTED) > agreement(pruned, source, TESTED) + 0.05
    before, after = weight_initializers(pruned), weight_initializers(better)
    assert list(before) == list(after)
    for name, values in before.items():
        np.testing.assert_array_equal(after[name] == 0, values == 0)
        assert not np.array_equal(after[name], values)


def test_equal_seeds_learn_equal_weights(tmp_path: Path) -> None:
    source = save_separable(tmp_path / "m.onnx")
    lesson = recover(epochs=1, augment=("flip", "shift", "mix"))

    def learnt(seed: int) -> bytes:
        model = taught(source, source, images(64), [PRUNE, lesson], tmp_path, seed)
        return bytes(model.SerializeToString(deterministic=True))

    assert learnt(1) == learnt(1)
    assert learnt(1) != learnt(2)


def test_labels_count_as_much_as_they_are_given(tmp_path: Path) -> None:
    source = balanced_classifier(tmp_path / "m.onnx")
    opposite = (run(load(source), images(256))[0].argmax(1) + 1) % 4
    samples = images(256, label=opposite)

    def agrees(weight: float) -> float:
        lesson = recover(label_weight=weight, epochs=20)
        return agreement(taught(source, source, samples, [lesson], tmp_path), source, images(256))

    assert agrees(0.0) > 0.95
    assert agrees(1.0) < 0.5


def test_a_codebook_keeps_its_codes_while_its_entries_learn(tmp_path: Path) -> None:
    source = save_separable(tmp_path / "m.onnx")
    model = load(source)
    for name, values in weight_initializers(model).items():
        entries = np.linspace(-1, 1, 11, dtype=np.float32) * abs(values).max()
        nearest = abs(values[..., None] - entries).argmin(axis=-1)
        replace_initializer(model, name, entries[nearest])
    better = taught(model, source, images(256), [recover()], tmp_path)
    assert agreement(better, source, TESTED) > agreement(model, source, TESTED)
    changed = 0
    for name, values in weight_initializers(model).items():
        learnt = weight_initializers(better)[name]
        for entry in np.unique(values):
            (own,) = np.unique(learnt[values == entry])  # one value still stands for one code
            assert (own == 0) == (entry == 0)
            changed += own != entry
    assert changed


@pytest.mark.parametrize("per_channel", [True, False])
def test_training_through_quantisation_keeps_scales_types_and_integer_kernels(
    tmp_path: Path, per_channel: bool
) -> None:
    source = save_separable(tmp_path / "m.onnx")
    steps = [("magnitude-prune", {"sparsity": 0.6}), ("int8-static", {"per_channel": per_channel})]
    quantised = taught(source, source, images(256), steps, tmp_path)
    better = taught(quantised, source, images(256), [recover(rate=0.002)], tmp_path)
    assert agreement(better, source, TESTED) > agreement(quantised, source, TESTED)
    assert [n.op_type for n in better.graph.node] == [n.op_type for n in quantised.graph.node]
    before, after = stored(quantised), stored(better)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {"k3_quantized", "b_quantized"} <= moved
    assert not any("scale" in name or "zero_point" in name for name in moved)
    assert all(before[name].dtype == after[name].dtype for name in before)
    np.testing.assert_array_equal(after["k3_quantized"] == 0, before["k3_quantized"] == 0)
    kernels = []
    for model in (quantised, better):
        onnx.save(model, tmp_path / "made.onnx")
        feeds = {"image": random(0, 1, 1, 8, 8)}
        kernels.append(find_runtime("onnxruntime").kernels(tmp_path / "made.onnx", feeds))
    assert kernels[0] == kernels[1]
    assert kernels[1].integer_convolutions


def test_normalisation_put_in_and_folded_changes_nothing(tmp_path: Path) -> None:
    model = load(save_separable(tmp_path / "m.onnx"))
    feeds = {"image": torch.from_numpy(random(3, 64, 1, 8, 8))}
    give_biases(model)
    network = Network(model)
    with torch.no_grad():
        plain = network.eval()(feeds)["logits"]
        insert_norms(network, model, feeds)
        assert len(network.norms) == 3
        torch.testing.assert_close(network.eval()(feeds)["logits"], plain, rtol=1e-4, atol=1e-4)
        network.train()(feeds)
        normal = network.eval()(feeds)["logits"]
        fold_norms(network, model)
    assert not network.norms
    network.write(model)
    refuse_difference(model, network, feeds)
    torch.testing.assert_close(network(feeds)["logits"], normal, rtol=1e-4, atol=1e-4)


def test_a_file_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    model = load(balanced_classifier(tmp_path / "m.onnx"))
    network = Network(model)
    replace_initializer(model, "b", stored(model)["b"] * 2)
    with pytest.raises(TechniqueError, match="something else than training: logits"):
        refuse_difference(model, network, {"image": torch.from_numpy(random(3, 4, 1, 8, 8))})


def test_a_graph_that_pytorch_runs_otherwise_is_refused_before_anything_is_learnt(
    tmp_path: Path,
) -> None:
    same = {"auto_pad": "SAME_UPPER", "dilations": [2, 2]}  # which the runtime pads in its own way
    source = save(
        tmp_path / "same.onnx",
        [
            helper.make_node("MaxPool", ["image"], ["m"], kernel_shape=[2, 2], **same),
            helper.make_node("Conv", ["m", "w"], ["h"]),
            helper.make_node("GlobalAveragePool", ["h"], ["y"]),
        ],
        [("image", "float32", ["n", 1, 8, 8])],
        [("y", "float32", ["n", 4, 1, 1])],
        [constant("w", random(0, 4, 1, 3, 3))],
    )
    told: list[float] = []
    with pytest.raises(TechniqueError, match="something else than training: y"):
        taught(source, source, images(64), [recover()], tmp_path, tell=lambda *w: told.append(w[0]))
    assert not told


def test_weights_that_are_no_numbers_after_the_last_step_are_refused(tmp_path: Path) -> None:
    source = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Abs", ["h"], ["a"]),
            helper.make_node("Sqrt", ["a"], ["y"]),
        ],
        [("x", "float32", ["n", 8])],
        [("y", "float32", ["n", 1])],
        [constant("w", random(0, 8, 1))],
    )
    x = random(1, 16, 8)
    x[3] = 0.0  # where a root has no slope
    samples, lesson = Dataset({"x": x}, None, None), recover(epochs=1, batch=16)
    with pytest.raises(TechniqueError, match="NaN or infinite numbers in y"):
        taught(source, source, samples, [lesson], tmp_path)


def test_a_teacher_that_gives_no_numbers_is_named(tmp_path: Path) -> None:
    source = save(
        tmp_path / "m.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Log", ["h"], ["y"])],
        [("x", "float32", ["n", 8])],
        [("y", "float32", ["n", 1])],
        [constant("w", random(0, 8, 1))],
    )
    samples = Dataset({"x": random(1, 600, 8)}, None, None)
    with pytest.raises(TechniqueError, match="output y is NaN or infinite for some training"):
        taught(source, source, samples, [recover()], tmp_path)
    positive = Dataset({"x": abs(random(1, 600, 8)) * np.sign(random(0, 8, 1).T)}, None, None)
    positive.inputs["x"][1] *= -1  # not among those that are looked at first
    with pytest.raises(TechniqueError, match="output y is NaN or infinite for some training"):
        taught(source, source, positive, [recover()], tmp_path)


def test_one_number_behind_a_quantiser_is_compared_too(tmp_path: Path) -> None:
    source = save(
        tmp_path / "m.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", "float32", ["n", 8])],
        [("y", "float32", ["n", 1])],
        [constant("w", random(0, 8, 1))],
    )
    sample = Dataset({"x": random(1, 1, 8)}, None, None)
    model = taught(source, source, sample, [("int8-static", {})], tmp_path)
    network = Network(model)
    name = next(name for name in network.weights if name.startswith("w"))
    replace_initializer(model, name, -stored(model)[name])
    with pytest.raises(TechniqueError, match="something else than training: y"):
        refuse_difference(model, network, {"x": torch.from_numpy(sample.inputs["x"])})


@pytest.mark.parametrize("batch_norm", [True, False])
def test_models_of_half_precision_learn(tmp_path: Path, batch_norm: bool) -> None:
    source = save_separable(tmp_path / "m.onnx")
    lesson = recover(epochs=1, batch_norm=batch_norm)
    model = taught(source, source, images(64), [("fp16", {}), lesson], tmp_path)
    assert {values.dtype for values in weight_initializers(model).values()} == {np.dtype("f2")}
    feeds = {"image": torch.from_numpy(random(3, 4, 1, 8, 8))}
    rounded = Network(model)
    with torch.no_grad():
        for weight in rounded.weights.values():
            weight.latent.mul_(1.0003)  # as operators that round to 16 bits differ
    refuse_difference(model, rounded, feeds)


def test_labels_that_are_no_classes_of_the_model_are_left_out_and_told(tmp_path: Path) -> None:
    source = balanced_classifier(tmp_path / "m.onnx")
    for wrong in (-1, 4):
        samples = images(16, label=np.array([wrong, *range(4), *range(4), *range(4), 0, 1, 2]))
        given = Context([], tmp_path, source, samples)
        learn(load(source), RecoverOptions(epochs=1, batch=8), given)
        (note,) = given.findings.notes
        assert f"run from {min(wrong, 0)} to {max(wrong, 3)}, and the model has 4 classes" in note
    for kind in (">i8", "u2", "?"):
        foreign = images(16, label=np.tile(np.arange(4), 4).astype(kind))
        given = Context([], tmp_path, source, foreign)
        learn(load(source), RecoverOptions(epochs=1, batch=8), given)
        assert not given.findings.notes


def test_features_of_several_rows_per_sample_are_matched(tmp_path: Path) -> None:
    source = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("Reshape", ["x", "steps"], ["s"]),
            helper.make_node("Gemm", ["s", "w"], ["h"]),
            helper.make_node("Reshape", ["h", "together"], ["y"]),
        ],
        [("x", "float32", ["n", 8])],
        [("y", "float32", ["n", 6])],
        [
            constant("w", random(0, 4, 3)),
            constant("steps", np.array([-1, 4])),
            constant("together", np.array([-1, 6])),
        ],
    )
    samples = Dataset({"x": random(1, 64, 8)}, None, None)
    lesson = recover(feature_weight=1.0, epochs=2)
    assert stored(taught(source, source, samples, [lesson], tmp_path))["w"].shape == (4, 3)


def test_one_sample_teaches_a_layer_without_space(tmp_path: Path) -> None:
    source = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("GlobalAveragePool", ["image"], ["p"]),
            helper.make_node("Conv", ["p", "w"], ["y"]),
        ],
        [("image", "float32", ["n", 1, 8, 8])],
        [("y", "float32", ["n", 4, 1, 1])],
        [constant("w", random(0, 4, 1, 1, 1))],
    )
    model = taught(source, source, images(1), [recover(epochs=1, batch_norm=True)], tmp_path)
    assert np.isfinite(stored(model)["w"]).all()


def test_models_that_are_no_classifiers_learn_by_squared_error(tmp_path: Path) -> None:
    source = save_mlp(tmp_path / "m.onnx")
    x = random(1, 256, 8)
    samples = Dataset({"x": x}, random(2, 256, 3), None)  # numbers to predict, no classes
    worn = load(source)
    for name, values in weight_initializers(worn).items():
        replace_initializer(worn, name, values * (1 + random(3, *values.shape) / 3))
    better = taught(worn, source, samples, [recover()], tmp_path)
    exact = run(load(source), samples)[0]
    errors = [((run(m, samples)[0] - exact) ** 2).mean() for m in (worn, better)]
    assert errors[1] < 0.1 * errors[0]


def test_models_that_give_probabilities_learn(tmp_path: Path) -> None:
    model = load(balanced_classifier(tmp_path / "m.onnx"))
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.append(helper.make_node("Softmax", ["scores"], ["logits"], axis=-1))
    onnx.save(model, tmp_path / "m.onnx")
    pruned = taught(model, tmp_path / "m.onnx", images(256), [PRUNE], tmp_path)
    better = taught(pruned, tmp_path / "m.onnx", images(256), [recover()], tmp_path)
    assert agreement(better, tmp_path / "m.onnx", TESTED) > agreement(
        pruned, tmp_path / "m.onnx", TESTED
    )


def test_students_start_from_random_weights_and_match_features(tmp_path: Path) -> None:
    source = balanced_classifier(tmp_path / "m.onnx")
    student = fresh(load(source), 3)
    again = fresh(load(source), 3)
    assert student == again != fresh(load(source), 4)
    assert not stored(student)["b"].any()
    lesson = recover(feature_weight=1.0, epochs=20)
    better = taught(student, source, images(256), [lesson], tmp_path)
    assert agreement(better, source, TESTED) > agreement(student, source, TESTED) + 0.2


@pytest.mark.parametrize(
    ("kind", "shape", "attributes", "inputs"),
    [
        ("Conv", (64, 8, 3, 3), {"group": 2}, 72),
        ("ConvTranspose", (16, 64, 3, 3), {"group": 2}, 72),
        ("MatMul", (4, 50, 40), {}, 50),
        ("Gemm", (50, 40), {}, 50),
        ("Gemm", (50, 40), {"transB": 1}, 40),
    ],
)
def test_random_weights_keep_the_size_of_signals(
    kind: str, shape: tuple[int, ...], attributes: dict[str, int], inputs: int
) -> None:
    layer = helper.make_node(kind, ["x", "w"], ["y"], **attributes)
    graph = helper.make_graph([layer], "g", [], [], [constant("w", random(0, *shape))])
    drawn = stored(fresh(helper.make_model(graph), 1))["w"]
    assert drawn.std() == pytest.approx(np.sqrt(2 / inputs), rel=0.1)


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    source = balanced_classifier(tmp_path / "m.onnx")
    told: list[tuple[float, str]] = []
    lesson = recover(epochs=1.5)
    taught(source, source, images(64), [lesson], tmp_path, tell=lambda *what: told.append(what))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert told[0][1].startswith("epoch 1/2 loss ")
    assert told[-1][1].startswith("epoch 2/2 loss ")


def test_what_cannot_be_learnt_says_why(tmp_path: Path) -> None:
    source = balanced_classifier(tmp_path / "m.onnx")
    lesson = RecoverOptions(**QUICK)
    with pytest.raises(TechniqueError, match="nothing to learn from"):
        learn(load(source), lesson, Context([], tmp_path, source, None))
    with pytest.raises(TechniqueError, match="nothing to learn from"):
        learn(load(source), lesson, Context([], tmp_path, None, images(8)))
    bare = save(
        tmp_path / "bare.onnx",
        [helper.make_node("Tanh", ["image"], ["y"])],
        [("image", "float32", ["n", 1, 8, 8])],
        [("y", "float32", ["n", 1, 8, 8])],
    )
    with pytest.raises(TechniqueError, match="stores no numbers that could learn"):
        learn(load(bare), lesson, Context([], tmp_path, bare, images(8)))
    matching = lesson.model_copy(update={"feature_weight": 1.0})
    with pytest.raises(TechniqueError, match="no layers whose features"):
        learn(load(bare), matching, Context([], tmp_path, bare, images(8)))
    gru = save_gru(tmp_path / "gru.onnx")
    with pytest.raises(TechniqueError, match="GRU"):
        learn(load(gru), lesson, Context([], tmp_path, gru, images(8)))
    whole = save(
        tmp_path / "whole.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Cast", ["h"], ["y"], to=onnx.TensorProto.INT64),
        ],
        [("x", "float32", ["n", 8])],
        [("y", "int64", ["n", 3])],
        [constant("w", random(0, 8, 3))],
    )
    eight = Dataset({"x": random(1, 8, 8)}, None, None)
    with pytest.raises(TechniqueError, match="all are whole numbers"):
        learn(load(whole), lesson, Context([], tmp_path, whole, eight))
    steps = load(whole)
    steps.graph.node[1].output[0] = "i"
    steps.graph.node.append(helper.make_node("Cast", ["i"], ["y"], to=onnx.TensorProto.FLOAT))
    steps.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    onnx.save(steps, whole)
    with pytest.raises(TechniqueError, match="changes its outputs smoothly"):
        learn(steps, lesson, Context([], tmp_path, whole, eight))


def test_samples_that_the_runtime_refuses_are_told_in_its_words(tmp_path: Path) -> None:
    source = save_two_inputs(tmp_path / "two.onnx")
    tokens = np.arange(16)  # the model knows five
    samples = Dataset({"features": random(0, 16, 4), "token": tokens}, None, None)
    with pytest.raises(TechniqueError, match=r"out of data bounds.*Correct the samples"):
        learn(load(source), RecoverOptions(), Context([], tmp_path, source, samples))


def test_models_without_a_batch_axis_are_refused(tmp_path: Path) -> None:
    mixing = save(
        tmp_path / "mixing.onnx",
        [
            helper.make_node("Reshape", ["image", "to"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w"], ["y"]),
        ],
        [("image", "float32", [1, 1, 8, 8])],
        [("y", "float32", [1, 3])],
        [constant("w", random(0, 64, 3)), constant("to", np.array([1, 64]))],
    )
    lesson = RecoverOptions(**QUICK)
    with pytest.raises(TechniqueError, match=r"takes no batches.*free batch axis"):
        learn(load(mixing), lesson, Context([], tmp_path, mixing, images(8)))
    averaging = save(
        tmp_path / "averaging.onnx",
        [
            helper.make_node("ReduceMean", ["image"], ["m"], axes=[0]),
            helper.make_node("Mul", ["image", "w"], ["h"]),
            helper.make_node("Sub", ["h", "m"], ["y"]),
        ],
        [("image", "float32", ["n", 1, 8, 8])],
        [("y", "float32", ["n", 1, 8, 8])],
        [constant("w", random(0, 8, 8))],
    )
    with pytest.raises(TechniqueError, match="something else for a batch"):
        learn(load(averaging), lesson, Context([], tmp_path, averaging, images(8)))
    whole = Dataset({"x": random(0, 4, 2, 8)}, None, None, frozenset({"x"}))
    mlp = save_mlp(tmp_path / "mlp.onnx", batch=2)
    with pytest.raises(TechniqueError, match="needs a batch axis; x has none"):
        learn(load(mlp), lesson, Context([], tmp_path, mlp, whole))


def test_a_loss_that_is_no_number_ends_the_lesson(tmp_path: Path) -> None:
    mlp = save_mlp(tmp_path / "mlp.onnx")
    huge = Dataset({"x": random(0, 64, 8) * np.float32(1e30)}, random(1, 64), None)
    with pytest.raises(TechniqueError, match=r"loss became infinite at a rate of 0\.01"):
        learn(load(mlp), RecoverOptions(**QUICK), Context([], tmp_path, mlp, huge))


def test_without_pytorch_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = balanced_classifier(tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(TechniqueError, match=r"needs PyTorch\. .*pip install 'fitment\[train\]'"):
        learn(load(source), RecoverOptions(), Context([], tmp_path, source, images(8)))


@settings(max_examples=40, deadline=None)
@given(
    temperature=st.floats(0.05, 50.0),
    logits=st.lists(st.integers(-20, 20), min_size=2, max_size=6, unique=True),
)
def test_soft_labels_sum_to_one_and_sharpen(temperature: float, logits: list[int]) -> None:
    scores = torch.tensor([logits], dtype=torch.float64)
    soft = soft_labels(scores, temperature)
    assert float(soft.sum()) == pytest.approx(1.0)
    assert float(soft_labels(scores, temperature / 2).max()) >= float(soft.max()) - 1e-12
    hard = soft_labels(scores, 0.02)
    assert float(hard.max()) == pytest.approx(1.0)
    assert int(hard.argmax()) == int(np.argmax(logits))
    assert float(distillation_loss(scores, scores, temperature)) == pytest.approx(0.0, abs=1e-9)


def divergence(truth: Any, guess: Any) -> float:
    """Kullback-Leibler, of the first row."""
    return float((truth * np.log(truth / guess)).sum(axis=1)[0])


def test_scores_are_compared_softened_and_probabilities_as_they_are() -> None:
    scores = np.array([[2.0, -1.0, 0.5]]), np.array([[0.5, 1.0, -2.0]])
    soft = [np.exp(s / 3) / np.exp(s / 3).sum() for s in scores]
    ours = distillation_loss(torch.from_numpy(scores[1]), torch.from_numpy(scores[0]), 3.0)
    assert float(ours) == pytest.approx(9 * divergence(*soft))
    lesson = RecoverOptions(temperature=1.0, label_weight=0.25)
    objective = Objective(lesson, "p", True, {})
    teacher, student = ({"p": torch.from_numpy(s)} for s in soft)
    assert float(objective(student, teacher, None)) == pytest.approx(divergence(*soft))
    label = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    mixed = 0.75 * divergence(*soft) - 0.25 * np.log(soft[1][0, 1])
    assert float(objective(student, teacher, label)) == pytest.approx(mixed)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), height=st.integers(4, 30), width=st.integers(4, 30))
def test_images_are_moved_and_mirrored_and_nothing_else(seed: int, height: int, width: int) -> None:
    image = torch.arange(1, 2 * height * width + 1).reshape(1, 2, height, width).float()
    batch = image.repeat(8, 1, 1, 1)
    moved = augment(batch, ("flip", "shift"), torch.Generator().manual_seed(seed))
    assert moved.shape == batch.shape
    reach = (max(1, round(height / 14)), max(1, round(width / 14)))
    for picture in moved:
        kept = picture[picture > 0]
        assert kept.unique().numel() == kept.numel()  # every pixel at most once
        least = 2 * (height - reach[0]) * (width - reach[1])
        assert least <= kept.numel() <= 2 * height * width
    assert torch.equal(augment(batch, (), torch.Generator()), batch)


def test_blending_mixes_pairs_by_their_shares() -> None:
    values = torch.tensor([[0.0], [1.0], [10.0]])
    mixed = blend(values, torch.tensor([2, 1, 0]), torch.tensor([0.5, 0.3, 1.0]))
    assert mixed.tolist() == [[5.0], [1.0], [10.0]]


def test_outputs_that_are_no_scores_are_met_as_numbers(tmp_path: Path) -> None:
    """Scores of classes are learnt up to a constant; a regression's outputs are not."""
    source = tmp_path / "m.onnx"
    onnx.save(dense_network(), source)
    samples = Dataset({"x": random(0, 64, 12)}, None, None)
    (exact,) = run(load(source), samples)
    errors = {}
    for classification in (True, False):
        wrong = load(source)
        for name, values in stored(wrong).items():
            if name.endswith(".b"):
                replace_initializer(wrong, name, values + np.float32(1.0))
        given = Context([], tmp_path, source, samples, classification=classification)
        learnt = learn(wrong, RecoverOptions(epochs=20, batch=8, rate=0.01), given)
        (found,) = run(learnt, samples)
        errors[classification] = np.square(found - exact).mean()
    assert errors[False] < 0.2 * errors[True]
