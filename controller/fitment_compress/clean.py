"""Brings a source model into the one shape that techniques work on, and proves it equal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fitment_compress.axes import fix_axes
from fitment_compress.errors import SourceError
from fitment_compress.graph import opset, strip_metadata
from fitment_compress.structure.graphs import constants_as_initializers
from fitment_runtime.errors import RuntimeFailure

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

    from fitment_runtime.dataset import Dataset

OLDEST_OPSET: Final = 13
"""Per-channel quantisation of an older opset writes files that fail only when loaded."""

TARGET_OPSET: Final = 17
"""What older opsets are converted to: old enough for the runtimes of old devices."""

TOLERANCE: Final = 1e-4
"""Largest difference that cleaning may make, relative to the largest magnitude of an output."""

Run = Callable[[Path], "Sequence[NDArray[Any]]"]
"""Runs the model in a file on the same real samples every time."""


@dataclass(frozen=True)
class Cleaned:
    """A model that gives what the source gives.

    Attributes:
        notes: what was done to it that its owner may want to know, one sentence each.
    """

    model: ModelProto
    notes: tuple[str, ...]


def clean(model: ModelProto, dataset: Dataset, run: Run, folder: Path) -> Cleaned:
    """Inline functions, fix axes, raise the opset, simplify the graph, strip metadata.

    Args:
        model: the source; changed in place.
        dataset: samples that fix the free axes.
        run: runs a file on a few real samples.
        folder: where intermediate files may be written.

    Raises:
        SourceError: onnxruntime cannot run the source, or its opset cannot be converted.
        SamplesError: the data contradict the model's axes.
    """
    reference = _run_source(model, run, folder)
    model = _inlined(model)
    _forget_initializer_inputs(model)
    notes = fix_axes(model, dataset)
    if opset(model) < OLDEST_OPSET:
        before = opset(model)
        model = _converted(model, reference, run, folder)
        notes.append(f"converted from opset {before} to {TARGET_OPSET}")
    strip_metadata(model)
    constants_as_initializers(model)  # where techniques look, also if simplifying fails
    slim, problem = _slimmed(model, reference, run, folder)
    if problem:
        notes.append(f"kept the graph as exported: {problem}")
    strip_metadata(slim)
    return Cleaned(slim, tuple(notes))


def difference(reference: Sequence[NDArray[Any]], candidate: Sequence[NDArray[Any]]) -> float:
    """The largest difference of any output element, relative to that output's largest magnitude.

    Infinite where shapes differ, or where one of the two has no number (NaN) or no finite one.
    """
    import numpy as np

    worst = 0.0
    for expected, found in zip(reference, candidate, strict=True):
        if expected.shape != found.shape:
            return float("inf")
        expected, found = expected.astype(np.float64), found.astype(np.float64)
        unequal = (expected != found) & ~(np.isnan(expected) & np.isnan(found))
        old, new = expected[unequal], found[unequal]
        if not (np.isfinite(old).all() and np.isfinite(new).all()):
            return float("inf")
        finite = np.isfinite(expected)
        scale = float(np.abs(expected).max(initial=0.0, where=finite)) or 1.0
        worst = max(worst, float(np.abs(old - new).max(initial=0.0)) / scale)
    return worst


def _run_source(model: ModelProto, run: Run, folder: Path) -> Sequence[NDArray[Any]]:
    try:
        return _run(model, run, folder / "source.onnx")
    except RuntimeFailure as error:
        raise SourceError(
            f"The model does not run on the data: {error.detail}",
            "Run it with onnxruntime on one sample first; every candidate has to.",
        ) from error


def _run(model: ModelProto, run: Run, path: Path) -> Sequence[NDArray[Any]]:
    import onnx

    onnx.save(model, path)
    return run(path)


def _inlined(model: ModelProto) -> ModelProto:
    """Local functions (exporters keep modules as such) become plain nodes."""
    from onnx import inliner

    if not model.functions:
        return model
    inlined: ModelProto = inliner.inline_local_functions(model)
    return inlined


def _forget_initializer_inputs(model: ModelProto) -> None:
    """Old exporters list weights as inputs, which forbids to fold them."""
    stored = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in stored]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, 4)  # the first in which weights may be no inputs


def _converted(
    model: ModelProto, reference: Sequence[NDArray[Any]], run: Run, folder: Path
) -> ModelProto:
    from onnx import version_converter

    before = opset(model)
    export = f"Export it again with opset_version={TARGET_OPSET}."
    try:
        converted: ModelProto = version_converter.convert_version(model, TARGET_OPSET)
        changed = difference(reference, _run(converted, run, folder / "converted.onnx"))
    except Exception as error:
        raise SourceError(
            f"The model has opset {before}, which cannot be converted to {TARGET_OPSET}: "
            f"{_first_line(error)}",
            export,
        ) from error
    if changed > TOLERANCE:
        raise SourceError(
            f"Converted from opset {before} to {TARGET_OPSET}, the model gives other outputs "
            f"(by {changed:.2g} of their largest value).",
            export,
        )
    return converted


def _slimmed(
    model: ModelProto, reference: Sequence[NDArray[Any]], run: Run, folder: Path
) -> tuple[ModelProto, str]:
    """The simplified model; or `model` itself and why it could not be simplified."""
    import onnx
    import onnxslim

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    logging.getLogger("onnxslim").setLevel(logging.ERROR)
    try:
        slim: ModelProto = onnxslim.slim(copy)
        changed = difference(reference, _run(slim, run, folder / "slim.onnx"))
    except Exception as error:  # noqa: BLE001 - optional; graph surgery fails in many ways
        return model, f"simplifying failed ({_first_line(error)})"
    if changed > TOLERANCE:
        return model, f"simplifying changed the outputs by {changed:.2g} of their largest value"
    return slim, ""


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
