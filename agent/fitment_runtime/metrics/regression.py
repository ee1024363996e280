"""Mean absolute error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fitment_runtime.metrics._outputs import chosen_output, require_index, same_shape

if TYPE_CHECKING:
    from fitment_runtime.session import Array


class Regression:
    """The mean absolute error (MAE), in the unit of the label.

    Args:
        output: which of the model's outputs holds the predictions.
    """

    name = "regression"
    higher_is_better = False

    def __init__(self, output: int = 0) -> None:
        self._output = require_index(output)

    def values(self, outputs: Sequence[Array], label: Array) -> Array:
        """Per sample the mean absolute difference over its values."""
        import numpy as np

        predicted, wanted = same_shape(chosen_output(outputs, self._output), label)
        difference = predicted.astype(np.float64) - wanted.astype(np.float64)
        errors: Array = np.abs(difference).mean(axis=1)
        return errors
