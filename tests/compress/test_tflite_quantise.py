"""Models that LiteRT's quantiser gets wrong by itself, and which samples calibrate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fitment_compress.converter.flatbuffer import file_facts
from fitment_compress.errors import TechniqueError
from fitment_compress.techniques import known_techniques
from fitment_compress.techniques.base import Context
from fitment_runtime.catalog import find_runtime

models = pytest.importorskip("support.tflite_models", reason="LiteRT is not installed here")
pytest.importorskip("litert_quantizer", reason="needs pip install 'fitment[convert]'")

STATIC = ("int8", "w8a16")
Feeds = list[dict[str, NDArray[Any]]]


def quantised(content: bytes, feeds: Feeds, folder: Path, **options: Any) -> bytes:
    technique = known_techniques()["tflite-quantise"]
    chosen = technique.options.model_validate(options)
    result: bytes = technique.apply(content, chosen, Context(feeds, folder))
    return result


def outputs(content: bytes, feeds: Feeds, folder: Path) -> list[NDArray[Any]]:
    """Per output all samples."""
    session = find_runtime("litert").load(models.save(folder / "run.tflite", content))
    return [np.stack(column) for column in zip(*map(session.run, feeds), strict=True)]


def samples(count: int, features: int = 16) -> Feeds:
    values = np.random.default_rng(3).normal(size=(count, 1, features)).astype(np.float32)
    return [{"x": sample} for sample in values]


def products() -> bytes:
    """`x` (1, 16) to `y` (1, 5) by two matrices, as ONNX's MatMul is converted."""
    made = models.Assembler()
    x, y = made.tensor("x", [1, 16]), made.tensor("y", [1, 5])
    inner = made.tensor("inner", [1, 32])
    for left, shape, result in ((x, (16, 32), inner), (inner, (32, 5), y)):
        weight = made.constant(f"w{shape[0]}", models.weights(shape[0], *shape))
        options = models.schema.BatchMatMulOptionsT()
        made.operator("BATCH_MATMUL", [left, weight], result, options)
    return bytes(made.content([x], [y]))


def read_on() -> bytes:
    """`x` (1, 16) to `y` (1, 5) and `floor`, of which the second is made of the first."""
    made = models.Assembler()
    x, y, floor = (made.tensor(*end) for end in (("x", [1, 16]), ("y", [1, 5]), ("floor", [1, 5])))
    kernel = made.constant("kernel", models.weights(0, 5, 16))
    bias = made.constant("bias", models.weights(1, 5))
    options = models.schema.FullyConnectedOptionsT()
    made.operator("FULLY_CONNECTED", [x, kernel, bias], y, options)
    made.operator("FLOOR", [y], floor)
    return bytes(made.content([x], [y, floor]))


@pytest.mark.parametrize("mode", STATIC)
def test_matrix_products_without_bias_give_what_they_gave(tmp_path: Path, mode: str) -> None:
    """With a scale per channel LiteRT's kernel gives zeroes."""
    exact, feeds = products(), samples(32)
    (wanted,) = outputs(exact, feeds, tmp_path)
    (found,) = outputs(quantised(exact, feeds, tmp_path, mode=mode), feeds, tmp_path)
    assert 0 < abs(found - wanted).max() < 0.05 * abs(wanted).max()


@pytest.mark.parametrize("mode", STATIC)
def test_an_output_may_be_read_by_an_operator_without_integers(tmp_path: Path, mode: str) -> None:
    exact, feeds = read_on(), samples(32)
    wanted = outputs(exact, feeds, tmp_path)[0]
    found, floor = outputs(quantised(exact, feeds, tmp_path, mode=mode), feeds, tmp_path)
    assert 0 < abs(found - wanted).max() < 0.05 * abs(wanted).max()
    np.testing.assert_allclose(floor, np.floor(found), atol=0.02)  # it is stored in 8 bits itself


def test_calibration_samples_come_from_the_whole_length(tmp_path: Path) -> None:
    """The last third of a sorted file is ten times as large."""
    exact, feeds = products(), samples(30)
    for feed in feeds[20:]:
        feed["x"] *= 10
    (wanted,) = outputs(exact, feeds, tmp_path)
    (found,) = outputs(quantised(exact, feeds, tmp_path, samples=20), feeds, tmp_path)
    assert abs(found - wanted).max() < 0.2 * abs(wanted).max()


def looked_up() -> bytes:
    """`x` (1,) of int32, a row of a table of 200 × 32, to `y` (1, 40)."""
    made = models.Assembler()
    x, row, y = made.tensor("x", [1]), made.tensor("row", [1, 32]), made.tensor("y", [1, 40])
    made.graph.tensors[x].type = models.schema.TensorType.INT32
    table = made.constant("table", models.weights(0, 200, 32))
    made.operator("GATHER", [table, x], row, models.schema.GatherOptionsT())
    kernel = made.constant("kernel", models.weights(1, 40, 32))
    bias = made.constant("bias", models.weights(2, 40))
    options = models.schema.FullyConnectedOptionsT()
    made.operator("FULLY_CONNECTED", [row, kernel, bias], y, options)
    return bytes(made.content([x], [y]))


@pytest.mark.parametrize(("mode", "precision"), [("dynamic", "fp32"), ("w8a16", "int16")])
def test_a_table_of_another_width_hides_no_weights(
    tmp_path: Path, mode: str, precision: str
) -> None:
    """It is most of the file: floats in the modes that leave it alone, else 16 bits wide."""
    feeds = [{"x": np.array([row], np.int32)} for row in range(0, 200, 10)]
    content = quantised(looked_up(), feeds, tmp_path, mode=mode)
    facts = file_facts(content)
    assert (facts.precision, facts.integer) == (precision, True)
    assert "int8" in facts.precisions
    assert facts.parameters == 200 * 32 + 40 * 32 + 40
    with pytest.raises(TechniqueError, match="int8"):
        quantised(content, feeds, tmp_path)
