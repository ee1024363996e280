"""A .tflite file is run before anything else is done with it, beside the model it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitment_compress.errors import TechniqueError
from fitment_contract.variant import TensorSpec
from fitment_runtime.catalog import find_runtime
from fitment_runtime.errors import RuntimeFailure

if TYPE_CHECKING:
    from numpy.typing import NDArray

Feeds = Sequence[Mapping[str, "NDArray[Any]"]]


def refuse_difference(source: Path, converted: Path, feeds: Feeds, tolerance: float) -> None:
    """Run both files on the same samples.

    Args:
        source: an ONNX file with fixed shapes.
        converted: the .tflite file.
        feeds: single samples; one is made up when there are none.
        tolerance: largest difference of an output element, relative to the largest magnitude of
            that output over all samples.

    Raises:
        TechniqueError: one of them does not run, or they disagree.
    """
    try:
        ours = find_runtime("litert").load(converted)
        theirs = find_runtime("onnxruntime").load(source)
        chosen = feeds or [{spec.name: _made_up(spec) for spec in theirs.inputs}]
        found = [ours.run(_cast(feed, ours.inputs)) for feed in chosen]
        wanted = [theirs.run(feed) for feed in chosen]
    except RuntimeFailure as error:
        raise TechniqueError(f"The converted file does not run: {error.detail}") from error
    for position, spec in enumerate(theirs.outputs):
        _compare(
            spec.name,
            [values[position] for values in found],
            [values[position] for values in wanted],
            tolerance,
        )


def refuse_unusable(content: bytes, feeds: Feeds, scratch: Path) -> None:
    """Load the file and run it once.

    Raises:
        TechniqueError: it does not load or run, or its outputs are not finite.
    """
    import numpy as np

    path = scratch / "proved.tflite"
    path.write_bytes(content)
    try:
        session = find_runtime("litert").load(path)
        feed = feeds[0] if feeds else {spec.name: _made_up(spec) for spec in session.inputs}
        results = session.run(_cast(feed, session.inputs))
    except RuntimeFailure as error:
        raise TechniqueError(f"The file was made and does not run: {error.detail}") from error
    for spec, values in zip(session.outputs, results, strict=True):
        if not np.isfinite(values).all():
            raise TechniqueError(f"The file was made, and output {spec.name!r} is not finite.")


def _compare(
    name: str, found: list[NDArray[Any]], wanted: list[NDArray[Any]], tolerance: float
) -> None:
    import numpy as np

    if found[0].shape != wanted[0].shape:
        raise TechniqueError(
            f"The conversion changed the shape of output {name!r} from {wanted[0].shape} to "
            f"{found[0].shape}."
        )
    exact = np.stack(wanted).astype(np.float64)
    scale = float(np.abs(exact).max(initial=0.0)) or 1.0
    worst = float(np.abs(np.stack(found) - exact).max(initial=0.0)) / scale
    if not worst <= tolerance:  # also when it is NaN
        raise TechniqueError(
            f"The conversion changed the model: output {name!r} is off by {worst:.2g} of its "
            f"largest magnitude; allowed is {tolerance:.2g}."
        )


def _cast(feed: Mapping[str, NDArray[Any]], specs: Sequence[TensorSpec]) -> dict[str, NDArray[Any]]:
    """Integers in the width that the file takes, as data files are read."""
    return {spec.name: feed[spec.name].astype(spec.dtype, copy=False) for spec in specs}


def _made_up(spec: TensorSpec) -> NDArray[Any]:
    """Standard normal numbers; zeros where whole numbers are asked for."""
    import numpy as np

    shape = tuple(length or 1 for length in spec.shape)
    if not spec.dtype.startswith("float"):
        return np.zeros(shape, spec.dtype)
    return np.random.default_rng(0).standard_normal(shape).astype(spec.dtype)
