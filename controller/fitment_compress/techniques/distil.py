"""Distillation: a smaller relative of the model learns from what the source says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import WEIGHTED_OPERATORS
from fitment_compress.techniques.base import Context, Requirements, Technique
from fitment_compress.techniques.channel_prune import ChannelPrune, ChannelPruneOptions
from fitment_compress.techniques.depthwise_separable import (
    DepthwiseSeparable,
    DepthwiseSeparableOptions,
)
from fitment_compress.techniques.drop_blocks import DropBlocks, DropBlocksOptions
from fitment_compress.training.learn import fresh, learn, require_torch
from fitment_compress.training.lesson import Lesson

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

    from fitment_runtime.dataset import Dataset

HOLDOUT_SHARE = 0.1
HOLDOUT_LIMIT = 2000
"""Of the training samples, what several students are compared on: at most this share and count."""


class DistilOptions(Lesson):
    """Which student, and how it learns; see `Lesson` for the latter.

    Attributes:
        width: share of the channels that the student keeps.
        depth: share that it keeps of the blocks that could be left out (see drop-blocks).
        depthwise: its convolutions become depthwise-separable.
        multiple_of: what its widths are multiples of.
        init: `inherit` begins with the weights that survive, fitted by least squares; `fresh` with
            random ones.
        seeds: how many students are trained; the best on a part of the training samples that
            none of them saw is kept. One student learns from all samples.
    """

    width: Annotated[float, Field(gt=0.0, le=1.0)] = 0.25
    depth: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    depthwise: bool = False
    multiple_of: Annotated[int, Field(ge=1, le=256)] = 8
    init: Literal["inherit", "fresh"] = "inherit"
    seeds: Annotated[int, Field(ge=1, le=16)] = 1
    epochs: Annotated[float, Field(gt=0.0, le=1000.0)] = 10.0

    @model_validator(mode="after")
    def _smaller(self) -> DistilOptions:
        if self.width == 1 and self.depth == 1 and not self.depthwise:
            raise ValueError("a student is smaller: lower width or depth, or set depthwise")
        return self


class Distil(Technique[DistilOptions]):
    """A student from the model's own family, taught by the source; labels are not needed.

    "Distilling the Knowledge in a Neural Network" (Hinton et al., 2015). The student is derived
    from the graph as the steps before left it: narrower, shallower or with cheaper convolutions.
    """

    name = "distil"
    summary = "a narrower, shallower or depthwise student learns from the source model"
    options = DistilOptions
    learns = True

    def needs(self, options: DistilOptions) -> Requirements:
        """Layers to make smaller."""
        return Requirements(opset=13, any_operator=WEIGHTED_OPERATORS, constant_weights=True)

    def traits(self, options: DistilOptions) -> tuple[str, ...]:
        """`student`, and `depthwise` where its convolutions are."""
        return ("student", *(("depthwise",) if options.depthwise else ()))

    def apply(self, model: ModelProto, options: DistilOptions, context: Context) -> ModelProto:
        """See `Technique.apply`."""
        require_torch("Distillation")
        student = derive(model, options, context)
        if options.seeds == 1:
            return _taught(student, options, context)
        return _best(student, options, context)


def derive(model: ModelProto, options: DistilOptions, context: Context) -> ModelProto:
    """The student before its lesson, with the weights that survive.

    Args:
        model: changed in place.
        options: what becomes of it; weights are fitted by least squares where they are inherited.
        context: calibration samples decide which blocks and channels stay.

    Raises:
        TechniqueError: the model has nothing to shrink in one of the ways asked for.
    """
    from fitment_compress.structure.blocks import find_blocks

    fit = options.init == "inherit"
    if options.depth < 1:
        blocks = len(find_blocks(model))
        leaving = round((1 - options.depth) * blocks)
        if not leaving:
            raise TechniqueError(
                f"At a depth of {options.depth:g} all {blocks} blocks of this model that could be "
                "left out stay.",
                "Lower `depth`, or leave it at 1 and lower `width`.",
            )
        model = DropBlocks().apply(model, DropBlocksOptions(count=leaving, refit=fit), context)
    if options.depthwise:
        separable = DepthwiseSeparableOptions(refit=fit)
        model = DepthwiseSeparable().apply(model, separable, context)
    if options.width < 1:
        narrow = ChannelPruneOptions(
            ratio=1 - options.width, multiple_of=options.multiple_of, refit=fit
        )
        model = ChannelPrune().apply(model, narrow, context)
    return model


def _taught(student: ModelProto, options: DistilOptions, context: Context) -> ModelProto:
    """The student after its lesson; `student` itself is not changed."""
    from fitment_compress.structure.graphs import copy_of

    start = copy_of(student)
    if options.init == "fresh":
        start = fresh(start, context.seed)
    return learn(start, options, context)


def _best(student: ModelProto, options: DistilOptions, context: Context) -> ModelProto:
    """The best of several students on samples that none of them learnt from."""
    learnt, held = hold_out(context.training, context.seed)
    wanted = _wanted(held, context)
    scores: dict[int, float] = {}
    kept = student
    for turn in range(options.seeds):
        seed = context.seed + turn
        own = replace(context, training=learnt, seed=seed, tell=_part(context, turn, options.seeds))
        taught = _taught(student, options, own)
        score = agreement(_outputs(taught, held), wanted)
        if score > max(scores.values(), default=float("-inf")):
            kept = taught
        scores[seed] = score
    told = ", ".join(f"seed {seed}: {score:.4f}" for seed, score in scores.items())
    context.findings.notes.append(
        f"Students on {len(held)} samples held out of training ({told}); the best was kept."
    )
    return kept


def hold_out(training: Dataset | None, seed: int) -> tuple[Dataset, Dataset]:
    """Samples to learn from, and others to choose by.

    Args:
        training: at least two samples.
        seed: of the division.

    Raises:
        TechniqueError: there are too few samples.
    """
    import numpy as np

    if training is None or len(training) < 2:
        raise TechniqueError(
            "There are too few samples to choose among students. Give more, or use one seed."
        )
    count = max(1, min(HOLDOUT_LIMIT, round(HOLDOUT_SHARE * len(training))))
    order = np.random.default_rng(seed).permutation(len(training)).tolist()
    return training.subset(order[count:]), training.subset(order[:count])


def agreement(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """How well a student's outputs match what was wanted.

    Args:
        found: (samples, ...) outputs.
        wanted: (samples,) class labels, or the teacher's outputs in the shape of `found`.

    Returns:
        The share of equal decisions, of classifiers; otherwise the share of the variance of what
        was wanted that is explained.
    """
    import numpy as np

    if found.ndim == 2 and found.shape[1] > 1:
        decided = wanted if wanted.ndim == 1 else wanted.argmax(axis=1)
        return float((found.argmax(axis=1) == decided).mean())
    rest = float(np.square(found.astype(np.float64) - wanted).mean())
    return 1.0 - rest / max(float(wanted.astype(np.float64).var()), 1e-12)


def _wanted(held: Dataset, context: Context) -> NDArray[Any]:
    """The labels of a classifier's samples where there are some, otherwise the teacher's word."""
    import onnx

    assert context.source is not None
    outputs = _outputs(onnx.load(context.source), held)
    label = held.label
    classes = outputs.ndim == 2 and outputs.shape[1] > 1
    if label is not None and classes and label.ndim == 1 and label.dtype.kind in "iub":
        return label
    return outputs


def _outputs(model: ModelProto, samples: Dataset) -> NDArray[Any]:
    """The first output for every sample."""
    import numpy as np

    from fitment_compress.structure.probe import look

    name = model.graph.output[0].name
    feeds = [samples.feeds(index) for index in range(len(samples))]
    return np.concatenate([seen[name] for seen in look(model, [name], feeds)])


def _part(context: Context, turn: int, turns: int) -> Any:
    """Reports the progress of one of several students as a part of the whole."""

    def tell(share: float, what: str) -> None:
        context.tell((turn + share) / turns, f"student {turn + 1} of {turns}: {what}")

    return tell
