"""Outputs and labels to a score with its uncertainty, overall and per slice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from fitment_contract.benchmark import Score, SliceScore
from fitment_runtime.dataset import Dataset
from fitment_runtime.errors import DataError, InferenceFailure
from fitment_runtime.metrics import Metric
from fitment_runtime.metrics.agreement import agreement
from fitment_runtime.metrics.statistics import standard_error
from fitment_runtime.session import Session

if TYPE_CHECKING:
    from fitment_runtime.session import Array

__all__ = ["agreement", "predict", "score"]

MIN_SLICE_COUNT: Final = 5
"""A slice with fewer samples is shown and never called the worst: chance decides its value."""

_SLICE_NAME_LENGTH: Final = 64  # of characters: a name is a label, and travels with every report
MAX_SLICES: Final = 100
"""Slices kept in a score, the worst ones; a report has to fit into a message."""


def predict(
    session: Session, dataset: Dataset, progress: Callable[[int, int], None] | None = None
) -> list[Array]:
    """Run every sample once.

    Args:
        session: the loaded model.
        dataset: samples that fit it.
        progress: called with (samples done, samples) after each.

    Returns:
        Per model output an array whose leading axis counts the samples; a batch axis of length 1
        is dropped.

    Raises:
        InferenceFailure: a sample could not be run, or the outputs differ in shape.
    """
    import numpy as np

    rows: list[list[Array]] = []
    for index in range(len(dataset)):
        rows.append(session.run(dataset.feeds(index)))
        if progress is not None:
            progress(index + 1, len(dataset))
    if not rows:
        raise DataError("there is no sample to run: give at least one")
    try:
        return [
            np.stack([_unbatched(value) for value in column]) for column in zip(*rows, strict=True)
        ]
    except ValueError as error:
        raise InferenceFailure(
            "the model's outputs differ in shape from sample to sample, so they cannot be scored"
        ) from error


def score(
    outputs: Sequence[Array], dataset: Dataset, metric: Metric, name: str = "shipped"
) -> Score:
    """Score the outputs for a data set.

    Args:
        outputs: as `predict` gives them.
        dataset: with labels, in the order of the outputs.
        metric: what compares them.
        name: the score's `dataset`.

    Raises:
        DataError: there are no labels, or they do not fit the outputs.
        InferenceFailure: the metric has no finite value, because the outputs have none.
    """
    import numpy as np

    if dataset.label is None:
        raise DataError(f"metric {metric.name!r} needs labels: add an array 'label' to the data")
    values = metric.values(outputs, dataset.label)
    if not np.isfinite(values).all():
        raise InferenceFailure("the outputs hold NaN or infinity, so they have no score")
    slices = _slices(values, dataset.slice, metric.higher_is_better)
    return Score(
        metric=metric.name,
        dataset=name,
        value=float(values.mean()),
        standard_error=standard_error(values),
        count=len(values),
        higher_is_better=metric.higher_is_better,
        slices=slices,
        worst_slice=_worst(slices),
    )


def _unbatched(value: Array) -> Array:
    return value[0] if value.ndim > 0 and value.shape[0] == 1 else value


def _slices(values: Array, names: Array | None, higher_is_better: bool) -> dict[str, SliceScore]:
    """Per slice its score: the worst of those that count first, then those with few samples."""
    import numpy as np

    if names is None:
        return {}
    scores = {}
    for name in np.unique(names):
        chosen = values[names == name]
        scores[str(name)[:_SLICE_NAME_LENGTH]] = SliceScore(
            value=float(chosen.mean()), count=len(chosen), standard_error=standard_error(chosen)
        )
    sign = 1 if higher_is_better else -1
    ranked = sorted(
        scores.items(),
        key=lambda item: (item[1].count < MIN_SLICE_COUNT, sign * item[1].value),
    )
    return dict(ranked[:MAX_SLICES])


def _worst(ranked: dict[str, SliceScore]) -> str | None:
    return next((name for name, item in ranked.items() if item.count >= MIN_SLICE_COUNT), None)
