"""Measures one candidate in a child process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fitment_compress.errors import CandidateError
from fitment_compress.host import host_facts
from fitment_compress.jobs import Measured, MeasureJob
from fitment_compress.workspace import StageFiles, Workspace
from fitment_contract.benchmark import Agreement, Difference, Score
from fitment_runtime.benchmark import BenchmarkRequest, run_benchmark
from fitment_runtime.catalog import find_runtime
from fitment_runtime.dataset import Dataset, load_dataset
from fitment_runtime.errors import RuntimeFailure
from fitment_runtime.metrics import AGREEMENT, find_metric
from fitment_runtime.scoring import agreement, predict, score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def measure(job: MeasureJob) -> Measured:
    """Load, golden outputs, latency, memory, kernels; then score and agreement in one pass.

    Raises:
        CandidateError: the file does not load, run or give what it gave when it was built.
    """
    workspace = Workspace(Path(job.workspace))
    files = workspace.stage(job.key)
    try:
        report = run_benchmark(_request(job, files))
        session = find_runtime(job.variant.needs.runtime).load(files.model(job.variant.format))
        evaluation = load_dataset(workspace.evaluation, session.inputs)
        outputs = predict(session, evaluation)
        agreed = agreement(outputs, _reference(workspace), job.classification)
        if job.metric.name == AGREEMENT:
            scores, difference = _agreement_score(agreed)
        else:
            scores, difference = _labelled_score(job, workspace, outputs, evaluation)
    except RuntimeFailure as error:
        raise CandidateError(f"{error.reason.value}: {error.detail}") from error
    return Measured(
        report=report.model_copy(update={"scores": (scores,)}),
        agreement=agreed,
        difference=difference,
    )


def paired_difference(values: NDArray[Any], baseline: NDArray[Any]) -> Difference:
    """The mean difference per sample and its standard error.

    Both models saw the same samples, so the error is that of the differences (as in McNemar's
    test), not that of two independent means: samples on which both agree do not count.
    """
    differences = values - baseline
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else None
    return Difference(
        value=float(differences.mean()),
        standard_error=None if spread is None else spread / len(differences) ** 0.5,
        count=len(differences),
    )


def _request(job: MeasureJob, files: StageFiles) -> BenchmarkRequest:
    return BenchmarkRequest(
        path=files.model(job.variant.format),
        variant=job.variant,
        protocol=job.protocol,
        metric=job.metric,
        evaluation=None,  # one pass below gives score, agreement and values per sample
        golden=files.golden,
        fingerprint=host_facts().fingerprint,
    )


def _labelled_score(
    job: MeasureJob, workspace: Workspace, outputs: Sequence[NDArray[Any]], evaluation: Dataset
) -> tuple[Score, Difference]:
    import numpy as np

    assert evaluation.label is not None
    metric = find_metric(job.metric)
    values = metric.values(outputs, evaluation.label)
    np.save(workspace.stage(job.key).values, values)
    baseline = np.load(workspace.stage(job.baseline).values)
    return score(outputs, evaluation, metric), paired_difference(values, baseline)


def _agreement_score(agreed: Agreement) -> tuple[Score, Difference]:
    """Without labels the score is the agreement, and the baseline agrees with itself."""
    scored = Score(
        metric=AGREEMENT,
        value=agreed.value,
        standard_error=agreed.standard_error,
        count=agreed.count,
    )
    difference = Difference(
        value=agreed.value - 1.0, standard_error=agreed.standard_error, count=agreed.count
    )
    return scored, difference


def _reference(workspace: Workspace) -> list[NDArray[Any]]:
    import numpy as np

    with np.load(workspace.reference) as archive:
        return [archive[name] for name in archive.files]
