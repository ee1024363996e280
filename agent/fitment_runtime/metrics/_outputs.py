"""What metrics ask of outputs and labels before they compare them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fitment_runtime.errors import DataError

if TYPE_CHECKING:
    from fitment_runtime.session import Array


def require_index(output: object) -> int:
    """The option `output`: which of the model's outputs is scored.

    Raises:
        ValueError: not a whole number from 0.
    """
    if not isinstance(output, int) or isinstance(output, bool) or output < 0:
        raise ValueError(f"output must be a whole number from 0, not {output!r}")
    return output


def chosen_output(outputs: Sequence[Array], index: int) -> Array:
    """Output `index`.

    Raises:
        DataError: the model has fewer outputs.
    """
    if index >= len(outputs):
        raise DataError(f"the metric scores output {index}; the model has {len(outputs)} outputs")
    return outputs[index]


def class_scores(scores: Array, label: Array) -> tuple[Array, Array]:
    """Class scores as (samples, decisions, classes) and labels as (samples, decisions).

    Raises:
        DataError: the labels are no class numbers, or not one per decision.
    """
    if label.dtype.kind not in "iu":
        raise DataError(f"'label' holds {label.dtype}; classes are whole numbers from 0")
    if scores.ndim < 2:
        raise DataError(
            f"the scored output has shape {scores.shape} over all samples; it needs a class axis"
        )
    classes = scores.shape[-1]
    scores = scores.reshape(len(scores), -1, classes)
    wanted = label.reshape(len(label), -1)
    if scores.shape[:2] != wanted.shape:
        raise DataError(
            f"'label' has shape {label.shape}, the scored output decides "
            f"{scores.shape[1]} time(s) per sample: give as many labels"
        )
    if wanted.min() < 0 or wanted.max() >= classes:
        raise DataError(
            f"'label' goes from {wanted.min()} to {wanted.max()}, the model has {classes} "
            "classes: number them from 0"
        )
    return scores, wanted


def same_shape(output: Array, label: Array) -> tuple[Array, Array]:
    """Output and label as (samples, values).

    Raises:
        DataError: they hold different numbers of values per sample.
    """
    flat, wanted = output.reshape(len(output), -1), label.reshape(len(label), -1)
    if flat.shape != wanted.shape:
        raise DataError(
            f"'label' holds {wanted.shape[1]} value(s) per sample, the scored output "
            f"{flat.shape[1]}: give one label per output value"
        )
    return flat, wanted
