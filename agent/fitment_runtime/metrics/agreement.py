"""How far a variant says what its source model says: needs no label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fitment_contract.benchmark import Agreement
from fitment_runtime.errors import DataError, InferenceFailure
from fitment_runtime.metrics.statistics import standard_error

if TYPE_CHECKING:
    from fitment_runtime.session import Array


def agreement(
    outputs: Sequence[Array], reference: Sequence[Array], classification: bool
) -> Agreement:
    """Compare a variant's outputs with the source model's on the same samples.

    Args:
        outputs: per model output an array whose leading axis counts the samples.
        reference: the same from the source model.
        classification: compare the decisions on the last axis of the first output; otherwise a
            sample's agreement is 1 minus the relative L1 error over all its outputs, at least 0.

    Raises:
        DataError: the outputs differ in number or shape, or there is no sample.
        InferenceFailure: the source model's outputs hold NaN or infinity, or the variant's do and
            no decision can excuse them.
    """
    import numpy as np

    _require_alike(outputs, reference)
    with np.errstate(invalid="ignore", over="ignore"):
        differences = [
            np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
            for ours, theirs in zip(outputs, reference, strict=True)
        ]
    largest = max((float(values.max(initial=0.0)) for values in differences), default=0.0)
    if not math.isfinite(largest):
        raise InferenceFailure("the outputs hold NaN or infinity; they agree with nothing")
    if classification:
        same = outputs[0].argmax(axis=-1) == reference[0].argmax(axis=-1)
        values = same.reshape(len(same), -1).mean(axis=1, dtype=np.float64)
    else:
        error = sum(_per_sample(values) for values in differences)
        size = sum(_per_sample(np.abs(values.astype(np.float64))) for values in reference)
        values = 1.0 - np.minimum(error / np.maximum(size, np.finfo(np.float64).tiny), 1.0)
    return Agreement(
        value=float(values.mean()),
        standard_error=standard_error(values),
        count=len(values),
        max_abs_difference=largest,
    )


def _require_alike(outputs: Sequence[Array], reference: Sequence[Array]) -> None:
    ours = [values.shape for values in outputs]
    theirs = [values.shape for values in reference]
    if ours != theirs:
        raise DataError(f"outputs of shapes {ours} cannot be compared with {theirs}")
    if not ours or ours[0][0] == 0:
        raise DataError("there is no sample to compare: give at least one")


def _per_sample(values: Array) -> Array:
    sums: Array = values.reshape(len(values), -1).sum(axis=1)
    return sums
