"""F1 score per sample, for models that answer several yes-or-no questions at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fitment_runtime.errors import DataError
from fitment_runtime.metrics._outputs import chosen_output, require_index, same_shape

if TYPE_CHECKING:
    from fitment_runtime.session import Array


class MultiLabel:
    """The F1 score of a sample's labels, averaged over samples.

    Counting right answers would flatter a model that never says yes, because most labels of most
    samples are 0. A sample without any label scores 1 when the model says none, else 0.

    Args:
        threshold: outputs from here on say yes: 0.5 for probabilities, 0 for logits.
        output: which of the model's outputs holds the scores.
    """

    name = "multilabel"
    higher_is_better = True

    def __init__(self, threshold: float = 0.5, output: int = 0) -> None:
        if not isinstance(threshold, (int, float)) or isinstance(threshold, bool):
            raise ValueError(f"threshold must be a number, not {threshold!r}")
        self._threshold = threshold
        self._output = require_index(output)

    def values(self, outputs: Sequence[Array], label: Array) -> Array:
        """Per sample its F1 score."""
        import numpy as np

        scores, wanted = same_shape(chosen_output(outputs, self._output), label)
        if not ((wanted == 0) | (wanted == 1)).all():
            raise DataError("'label' holds other values than 0 and 1: multilabel needs 0/1")
        yes, wanted = scores >= self._threshold, wanted == 1
        both = (yes & wanted).sum(axis=1)
        either = yes.sum(axis=1) + wanted.sum(axis=1)
        return np.where(either == 0, 1.0, 2.0 * both / np.maximum(either, 1))
