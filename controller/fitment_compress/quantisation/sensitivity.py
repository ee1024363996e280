"""How much a changed model differs from the one it was made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

Outputs = list[list["NDArray[Any]"]]
"""Per sample, per model output, what the model gave."""

WORST: Final = 1e6
"""The noise ratio of outputs that are not even numbers."""


def run_all(model: ModelProto, feeds: Iterable[Mapping[str, NDArray[Any]]]) -> Outputs:
    """Run a model as the runtime would on this host, integer kernels included, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [session.run(None, dict(sample)) for sample in feeds]


def noise_ratio(reference: Outputs, outputs: Outputs) -> float:
    """The power of the change of the outputs over the power of the outputs.

    Of several outputs it is the mean of their ratios, so that large numbers do not hide small ones.

    Args:
        reference: what it was.
        outputs: what it is, for the same samples.
    """
    import numpy as np

    ratios = []
    for exact, found in zip(zip(*reference, strict=True), zip(*outputs, strict=True), strict=True):
        pairs = [
            (old.astype(np.float64), new.astype(np.float64))
            for old, new in zip(exact, found, strict=True)
        ]
        noise = sum(float(np.square(new - old).sum()) for old, new in pairs)
        power = sum(float(np.square(old).sum()) for old, _ in pairs)
        ratios.append(noise / power if power else float(noise > 0))
    ratio = float(np.mean(ratios))
    return min(ratio, WORST) if np.isfinite(ratio) else WORST


def changed_decisions(reference: Outputs, outputs: Outputs) -> float:
    """The share of decisions that differ.

    A decision is the largest along the last axis of the first output; an output of integers is
    made of decisions already.
    """
    import numpy as np

    different = [
        np.mean(_decisions(old[0]) != _decisions(new[0]))
        for old, new in zip(reference, outputs, strict=True)
    ]
    return float(np.mean(different))


def has_decisions(outputs: Outputs) -> bool:
    """Whether the first output can say different things: the largest of one number never does."""
    first = outputs[0][0]
    return first.dtype.kind in "iub" or (first.ndim > 1 and first.shape[-1] > 1)


def _decisions(values: NDArray[Any]) -> NDArray[Any]:
    decisions: NDArray[Any] = values if values.dtype.kind in "iub" else values.argmax(axis=-1)
    return decisions
