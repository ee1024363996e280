"""Divides the samples that were handed in: to calibrate, to learn from, and others to score on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fitment_compress.errors import SamplesError
from fitment_contract.variant import TensorSpec
from fitment_runtime.dataset import LABEL, SLICE, Dataset, load_dataset
from fitment_runtime.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

CALIBRATION_SHARE: Final = 0.2
CALIBRATION_LIMIT: Final = 200
"""When one file serves both purposes: at most this share and this many samples calibrate."""

SEED: Final = 20
"""Makes the division the same every time."""


def load_samples(path: Path, inputs: Sequence[TensorSpec]) -> Dataset:
    """The samples in an npz, checked against the model's inputs.

    Raises:
        SamplesError: see `fitment_runtime.dataset.load_dataset`.
    """
    try:
        return load_dataset(path, inputs)
    except DataError as error:
        raise SamplesError(f"{error.detail[0].upper()}{error.detail[1:]}.") from error


def divide(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """Calibration and evaluation samples of one file: disjoint, and the same every time.

    Where samples have one label each, both parts have the same shares of labels: samples are
    shuffled, sorted by label, and every n-th of them calibrates. A calibration sample that occurs
    a second time among the evaluation samples is dropped.

    Raises:
        SamplesError: there are too few different samples to divide.
    """
    import numpy as np

    total = len(dataset)
    wanted = min(CALIBRATION_LIMIT, max(1, round(CALIBRATION_SHARE * total)))
    chosen = np.zeros(total, dtype=bool)
    chosen[_spread(dataset, wanted)] = True
    evaluation = dataset.subset(np.flatnonzero(~chosen).tolist())
    scored = set(sample_digests(evaluation))
    digests = sample_digests(dataset)
    calibrating = [
        index for index in np.flatnonzero(chosen).tolist() if digests[index] not in scored
    ]
    if not calibrating or not len(evaluation):
        raise SamplesError(
            f"{total} samples cannot be divided into calibration and evaluation.",
            "Give more different samples, or a second file with --calibration.",
        )
    return dataset.subset(calibrating), evaluation


def some_of(dataset: Dataset) -> Dataset:
    """As many samples as calibrate well, chosen as `divide` chooses them."""
    return dataset.subset(_spread(dataset, min(CALIBRATION_LIMIT, len(dataset))))


def _spread(dataset: Dataset, wanted: int) -> list[int]:
    """Positions of `wanted` samples, with the same shares of labels as all of them."""
    import numpy as np

    total = len(dataset)
    order = np.random.default_rng(SEED).permutation(total)
    if dataset.label is not None and dataset.label.ndim == 1:
        order = order[np.argsort(dataset.label[order], kind="stable")]
    positions: list[int] = order[(np.arange(wanted) * total) // wanted].tolist()
    return positions


def refuse_overlap(seen: Dataset, evaluation: Dataset, purpose: str) -> None:
    """Scores on samples that a model was made with would flatter it.

    Args:
        seen: the samples that it was made with.
        evaluation: the samples to score on.
        purpose: of `seen`: `calibration` or `training`.

    Raises:
        SamplesError: some samples are in both.
    """
    scored = set(sample_digests(evaluation))
    shared = sum(digest in scored for digest in sample_digests(seen))
    if shared:
        raise SamplesError(
            f"{shared} of {len(seen)} {purpose} samples are evaluation samples as well.",
            "Remove them from one of the two files, or give --data alone: it is then divided.",
        )


def sample_digests(dataset: Dataset) -> list[str]:
    """Per sample the SHA-256 over the bytes of all its inputs."""
    digests = []
    for index in range(len(dataset)):
        content = hashlib.sha256()
        for name, values in dataset.feeds(index).items():
            content.update(name.encode())
            content.update(values.tobytes())
        digests.append(content.hexdigest())
    return digests


def save_dataset(path: Path, dataset: Dataset, *, packed: bool = True) -> None:
    """Write samples as `load_dataset` reads them; equal samples make equal files.

    Args:
        path: of the npz.
        dataset: what to write.
        packed: compressed, as files that travel are; what only this machine reads is not worth
            the time.
    """
    import numpy as np

    arrays: dict[str, NDArray[Any]] = dict(dataset.inputs)
    for name, values in ((LABEL, dataset.label), (SLICE, dataset.slice)):
        if values is not None:
            arrays[name] = values
    write = np.savez_compressed if packed else np.savez
    write(path, **arrays)  # type: ignore[arg-type]  # their stubs name a keyword
