"""Top-k accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fitment_runtime.metrics._outputs import chosen_output, class_scores, require_index

if TYPE_CHECKING:
    from fitment_runtime.session import Array


class TopK:
    """The share of decisions in which fewer than k classes score at least as high as the label.

    Ties count against the model: one that gives every class the same score knows nothing.

    Args:
        k: how many guesses count.
        output: which of the model's outputs holds the class scores, on its last axis.
    """

    name = "topk"
    higher_is_better = True

    def __init__(self, k: int = 5, output: int = 0) -> None:
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise ValueError(f"k must be a whole number from 1, not {k!r}")
        self._k = k
        self._output = require_index(output)

    def values(self, outputs: Sequence[Array], label: Array) -> Array:
        """Per sample the share of right decisions; a score of NaN makes a decision wrong."""
        import numpy as np

        scores, wanted = class_scores(chosen_output(outputs, self._output), label)
        own = np.take_along_axis(scores, wanted[..., None], axis=-1)
        rank = (scores >= own).sum(axis=-1)  # the label itself is one of them
        right = (rank <= self._k) & ~np.isnan(scores).any(axis=-1)
        shares: Array = right.mean(axis=1, dtype=np.float64)
        return shares
