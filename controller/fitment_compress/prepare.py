"""The first step: model and data are checked, cleaned and divided, before anything is built."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fitment_compress.axes import refuse_unknown_ranks
from fitment_compress.clean import Cleaned, clean
from fitment_compress.data import divide, load_samples, refuse_overlap, save_dataset, some_of
from fitment_compress.errors import RequestError, SamplesError, SourceError
from fitment_compress.graph import (
    count_parameters,
    input_values,
    opset,
    standard_nodes,
    tensor_spec,
    weighted_operators,
)
from fitment_compress.jobs import Prepared, PrepareJob
from fitment_compress.macs import count_macs
from fitment_compress.source import Source, read_source
from fitment_compress.workspace import Workspace
from fitment_contract.benchmark import MetricSpec
from fitment_contract.portfolio import DataSplit, SourceModel
from fitment_runtime.catalog import find_runtime
from fitment_runtime.errors import DataError, RuntimeFailure
from fitment_runtime.metrics import AGREEMENT, Metric, default_metric, find_metric
from fitment_runtime.scoring import predict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fitment_runtime.dataset import Dataset

COMPARED_SAMPLES: Final = 16
"""Real samples on which the cleaned model must give what the source gives."""

_CLASSIFICATION: Final = ("top1", "topk")


def prepare(job: PrepareJob) -> Prepared:
    """Check, clean, divide, and run the source on every evaluation sample.

    Raises:
        RequestError: there is no such metric.
        SourceError: the model cannot be used.
        SamplesError: the data cannot be used.
    """
    import onnx

    workspace = Workspace(Path(job.workspace))
    source = read_source(Path(job.model))
    refuse_unknown_ranks(source.model)
    samples = _samples(job, source)
    evaluation = samples.evaluation
    probe = evaluation.subset(range(min(COMPARED_SAMPLES, len(evaluation))))
    facts = _facts(source)
    # Searches share a workspace: what another one reads is replaced whole, by what is good.
    with tempfile.TemporaryDirectory(dir=workspace.root) as scratch:
        draft = Workspace(Path(scratch))
        cleaned = clean(source.model, probe, lambda path: _outputs(path, probe), draft.root)
        onnx.save(cleaned.model, draft.clean)
        save_dataset(draft.calibration, samples.calibration)
        save_dataset(draft.evaluation, evaluation)
        save_dataset(draft.training, samples.training, packed=False)
        reference = _reference(source.path, evaluation, draft)
        made = (draft.clean, draft.calibration, draft.evaluation, draft.training, draft.reference)
        for path in made:
            path.replace(workspace.root / path.name)
    metric = _metric(job.metric, evaluation, reference)
    classification = _is_classification(job.metric or metric, reference)
    return Prepared(
        source=facts.model_copy(update={"macs": count_macs(cleaned.model)}),
        data=samples.described(),
        metric=metric,
        classification=classification,
        operators=tuple(sorted({node.op_type for node in standard_nodes(cleaned.model)})),
        weighted_operators=tuple(sorted(weighted_operators(cleaned.model))),
        notes=_notes(cleaned, metric, classification),
    )


@dataclass(frozen=True)
class _Samples:
    """What calibrates, what is learnt from and what scores; the last shares nothing."""

    calibration: Dataset
    training: Dataset
    evaluation: Dataset
    origin: str

    def described(self) -> DataSplit:
        return DataSplit(
            calibration_count=len(self.calibration),
            training_count=len(self.training),
            training_share_labelled=_share_labelled(self.training),
            evaluation_count=len(self.evaluation),
            evaluation_share_labelled=_share_labelled(self.evaluation),
            source=self.origin,
        )


def _share_labelled(dataset: Dataset) -> float:
    return 0.0 if dataset.label is None else 1.0


def _samples(job: PrepareJob, source: Source) -> _Samples:
    """The samples in the files that were named.

    What is not named is taken from what is: calibration samples from those to learn from, or, with
    no other file, from those to score on, which then lose them. Without samples to learn from, the
    calibration samples serve.
    """
    inputs = [tensor_spec(value) for value in input_values(source.model)]
    evaluation = load_samples(Path(job.data), inputs)
    files = [Path(path).name for path in (job.data, job.calibration, job.training) if path]
    training = None if job.training is None else load_samples(Path(job.training), inputs)
    if training is not None:
        refuse_overlap(training, evaluation, "training")
    if job.calibration is not None:
        calibration = load_samples(Path(job.calibration), inputs)
        refuse_overlap(calibration, evaluation, "calibration")
    elif training is not None:
        calibration = some_of(training)
    else:
        calibration, evaluation = divide(evaluation)
    origin = " and ".join(files) if len(files) > 1 else f"{files[0]}, divided"
    learnt = calibration if training is None else training
    return _Samples(calibration, learnt, evaluation, origin)


def _facts(source: Source) -> SourceModel:
    return SourceModel(
        file_name=source.path.name,
        digest=source.digest,
        size_bytes=source.size_bytes,
        opset=opset(source.model),
        inputs=tuple(tensor_spec(value) for value in input_values(source.model)),
        outputs=tuple(tensor_spec(value) for value in source.model.graph.output),
        parameters=count_parameters(source.model),
    )


def _outputs(path: Path, dataset: Dataset) -> list[NDArray[Any]]:
    return predict(find_runtime("onnxruntime").load(path), dataset)


def _reference(path: Path, evaluation: Dataset, workspace: Workspace) -> list[NDArray[Any]]:
    """The source's outputs for all evaluation samples, kept for the candidates."""
    import numpy as np

    try:
        reference = _outputs(path, evaluation)
    except RuntimeFailure as error:
        raise SourceError(f"The model does not run on all samples: {error.detail}") from error
    for position, values in enumerate(reference):
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise SourceError(
                f"The model's output {position} is NaN or infinite for some samples.",
                "Check that the data are scaled as in training.",
            )
    np.savez(workspace.reference, *reference)
    return reference


def _metric(
    wanted: MetricSpec | None, evaluation: Dataset, reference: Sequence[NDArray[Any]]
) -> MetricSpec:
    """The metric for these labels, tried on the source's own outputs."""
    if evaluation.label is None:
        if wanted is not None and wanted.name != AGREEMENT:
            _known(wanted)
        return MetricSpec(name=AGREEMENT)
    spec = wanted or default_metric(evaluation.label)
    metric = _known(spec)
    try:
        metric.values(reference, evaluation.label)
    except DataError as error:
        raise SamplesError(
            f"The labels do not fit the model: {error.detail}.",
            "Correct the array 'label', or choose another metric with --metric.",
        ) from error
    return spec


def _known(spec: MetricSpec) -> Metric:
    try:
        return find_metric(spec)
    except DataError as error:
        raise RequestError(f"The metric cannot be used: {error.detail}.") from error


def _is_classification(metric: MetricSpec, reference: Sequence[NDArray[Any]]) -> bool:
    """Whether decisions are compared: asked for, or the first output looks like class scores."""
    if metric.name != AGREEMENT:
        return metric.name in _CLASSIFICATION
    return reference[0].ndim == 2 and reference[0].shape[1] > 1


def _notes(cleaned: Cleaned, metric: MetricSpec, classification: bool) -> tuple[str, ...]:
    if metric.name != AGREEMENT:
        return cleaned.notes
    what = (
        "how often the largest value of the first output is where the source's is"
        if classification
        else "how close the outputs are to the source's"
    )
    return (*cleaned.notes, f"no labels: candidates are scored by {what}")
