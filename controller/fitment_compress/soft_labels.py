"""Soft labels: what a teacher says about all classes, not only about the right one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def soft_labels(logits: NDArray[Any], temperature: float) -> NDArray[Any]:
    """Probabilities at a temperature: the softmax of logits / temperature.

    "Distilling the Knowledge in a Neural Network" (Hinton et al., 2015, section 2). High
    temperatures show how similar the teacher finds the other classes; towards 0 the largest logit
    takes all.

    Args:
        logits: any float shape, classes on the last axis.
        temperature: above 0.

    Returns:
        As the logits, float64, sums of 1 over the last axis.

    Raises:
        ValueError: the temperature is not above 0.
    """
    import numpy as np

    if not temperature > 0:
        raise ValueError(f"a temperature is above 0, and not {temperature}")
    exact = logits.astype(np.float64)
    scaled = (exact - exact.max(axis=-1, keepdims=True)) / temperature
    weights = np.exp(scaled)
    probabilities: NDArray[Any] = weights / weights.sum(axis=-1, keepdims=True)
    return probabilities
