"""The way into learning: a graph, a lesson and samples in, the same graph with learnt weights out.

Importing this module is cheap; PyTorch is imported when something is learnt.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fitment_compress.errors import TechniqueError
from fitment_compress.techniques.base import Context
from fitment_compress.training.lesson import Lesson

if TYPE_CHECKING:
    from onnx import ModelProto

    from fitment_compress.training.constraints import WeightMaker


def learn(
    model: ModelProto,
    lesson: Lesson,
    context: Context,
    *,
    weights: Mapping[str, WeightMaker] | None = None,
) -> ModelProto:
    """Train a graph to do what the source model does, and what labels say where there are some.

    Constraints are read off the weights: zeroes of kernels stay zero, codebooks keep their codes,
    stored integers stay integers of the same scales.

    Args:
        model: the student; a new graph is returned, which differs in stored values only (and in
            biases of convolutions that had none).
        lesson: how.
        context: `source` is the teacher, `training` the samples, `seed` makes it the same again.
        weights: makes some of the weights, by initializer, in place of what their values show.

    Raises:
        TechniqueError: PyTorch, the teacher or samples are missing; the graph has an operator that
            training does not know, or nothing to learn; or the file does not compute what was
            trained.
    """
    require_torch("Learning")
    if context.source is None or context.training is None or not len(context.training):
        raise TechniqueError(
            "There is nothing to learn from: no source model or no samples.",
            "Give training samples, with or without labels.",
        )
    from fitment_compress.training.loop import train

    return train(model, lesson, context, weights or {})


def fresh(model: ModelProto, seed: int) -> ModelProto:
    """The same graph with random weights (He et al., 2015), for students that start from nothing.

    Args:
        model: changed in place.
        seed: equal seeds give equal weights.
    """
    from fitment_compress.training.fresh import reinitialise

    return reinitialise(model, seed)


def require_torch(what: str) -> None:
    """Raise TechniqueError where PyTorch is not installed; `what` needs it."""
    if find_spec("torch") is None:
        raise TechniqueError(
            f"{what} needs PyTorch.", "Install it with: pip install 'fitment[train]'."
        )
