"""Metrics: one file and one class each; a metric gives one number per sample.

A metric is named, with its options, by a `MetricSpec`, so that the build host and every device
score alike. To add one, write its file and add its class to `_METRICS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

from fitment_contract.benchmark import MetricSpec
from fitment_runtime.errors import DataError
from fitment_runtime.metrics.multilabel import MultiLabel
from fitment_runtime.metrics.regression import Regression
from fitment_runtime.metrics.top1 import Top1
from fitment_runtime.metrics.topk import TopK

if TYPE_CHECKING:
    from fitment_runtime.session import Array

AGREEMENT: Final = "agreement"
"""The name of what is compared without labels; see `fitment_runtime.scoring.agreement`."""


class Metric(Protocol):
    """Compares outputs with labels.

    Attributes:
        name: as in a `MetricSpec`.
        higher_is_better: the direction of its value.
    """

    name: str
    higher_is_better: bool

    def values(self, outputs: Sequence[Array], label: Array) -> Array:
        """One float64 per sample; the score of a data set is their mean.

        Args:
            outputs: per model output an array whose leading axis counts the samples.
            label: the labels, in the same order.

        Raises:
            DataError: labels and outputs do not fit each other.
        """


_METRICS: Final[dict[str, type[Top1] | type[TopK] | type[Regression] | type[MultiLabel]]] = {
    kind.name: kind for kind in (Top1, TopK, Regression, MultiLabel)
}


def metric_names() -> tuple[str, ...]:
    """The metrics that labels can be scored with."""
    return tuple(_METRICS)


def find_metric(spec: MetricSpec) -> Metric:
    """The metric that `spec` names, with its options.

    Raises:
        DataError: no such metric, or an option that it does not have or take.
    """
    kind = _METRICS.get(spec.name)
    if kind is None:
        raise DataError(f"no metric is called {spec.name!r}; metrics: {', '.join(_METRICS)}")
    try:
        return kind(**spec.options)
    except (TypeError, ValueError) as error:
        raise DataError(f"options of metric {spec.name!r}: {error}") from error


def default_metric(label: Array | None) -> MetricSpec:
    """The metric that labels of this type and shape usually mean.

    Whole numbers are classes (`top1`), a matrix of 0 and 1 is `multilabel`, other numbers are
    predicted (`regression`); without labels only agreement with the source can be told.
    """
    if label is None:
        return MetricSpec(name=AGREEMENT)
    if label.ndim == 2 and label.shape[1] > 1 and ((label == 0) | (label == 1)).all():
        return MetricSpec(name=MultiLabel.name)
    return MetricSpec(name=Regression.name if label.dtype.kind == "f" else Top1.name)
