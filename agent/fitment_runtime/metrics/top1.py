"""Top-1 accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fitment_runtime.metrics._outputs import chosen_output, class_scores, require_index

if TYPE_CHECKING:
    from fitment_runtime.session import Array


class Top1:
    """The share of decisions in which the class with the highest score is the label.

    A sample with several decisions (one per time step, say) counts with its own share.

    Args:
        output: which of the model's outputs holds the class scores, on its last axis.
    """

    name = "top1"
    higher_is_better = True

    def __init__(self, output: int = 0) -> None:
        self._output = require_index(output)

    def values(self, outputs: Sequence[Array], label: Array) -> Array:
        """Per sample the share of right decisions; a score of NaN makes a decision wrong."""
        import numpy as np

        scores, wanted = class_scores(chosen_output(outputs, self._output), label)
        right = (scores.argmax(axis=-1) == wanted) & ~np.isnan(scores).any(axis=-1)
        shares: Array = right.mean(axis=1, dtype=np.float64)
        return shares
