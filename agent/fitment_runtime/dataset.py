"""Labelled samples in one npz file: one array per model input, and optionally `label` and `slice`.

Every fault of a data file is found here, before any inference, and named with its fix.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fitment_contract.variant import TensorSpec
from fitment_runtime.errors import DataError

if TYPE_CHECKING:
    from fitment_runtime.session import Array

LABEL: Final = "label"
SLICE: Final = "slice"


@dataclass(frozen=True)
class Dataset:
    """Samples that fit one model.

    Attributes:
        inputs: per model input an array whose leading axis counts the samples.
        label: one label, or one array of labels, per sample.
        slice: per sample the name of the slice (a class, a person, a place) it belongs to.
        whole: the inputs whose samples are fed without a batch axis of length 1, because the
            model's own first axis is not a batch axis (fixed batches, state).
    """

    inputs: Mapping[str, Array]
    label: Array | None
    slice: Array | None
    whole: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return min((len(values) for values in self.inputs.values()), default=0)

    def feeds(self, index: int) -> dict[str, Array]:
        """Sample `index` as the model takes it, with batch axis 1 where it has one."""
        import numpy as np

        return {
            name: np.asarray(values[index]) if name in self.whole else values[index : index + 1]
            for name, values in self.inputs.items()
        }

    def subset(self, indices: Sequence[int]) -> Dataset:
        """The samples at `indices`, in that order."""
        chosen = list(indices)
        return Dataset(
            inputs={name: values[chosen] for name, values in self.inputs.items()},
            label=None if self.label is None else self.label[chosen],
            slice=None if self.slice is None else self.slice[chosen],
            whole=self.whole,
        )


def load_dataset(path: Path, inputs: Sequence[TensorSpec]) -> Dataset:
    """The samples in the npz at `path`, checked against a model's inputs.

    An array whose rank is the input's has the batch axis first and sample i is `x[i:i+1]`; with
    one axis more, sample i is `x[i]` whole. Integer inputs are cast only when nothing is lost.

    Raises:
        DataError: the file, an array's name, type, shape, count or value is wrong.
    """
    arrays = read_arrays(path)
    specs = {spec.name: spec for spec in inputs}
    samples = {}
    whole = set()
    for name, spec in specs.items():
        if name not in arrays:
            raise DataError(
                f"{path.name} has no array {name!r}, which is an input of the model; it has "
                f"{', '.join(sorted(arrays)) or 'none'}: save one array per input, by its name"
            )
        values = _typed(name, arrays[name], spec.dtype)
        if _fitted(name, values, spec):
            whole.add(name)
        _require_finite(name, values)
        samples[name] = values
    label = arrays.get(LABEL) if LABEL not in specs else None
    slices = arrays.get(SLICE) if SLICE not in specs else None
    _require_equal_counts({**samples, LABEL: label, SLICE: slices})
    return Dataset(samples, _label(label), _slices(slices), frozenset(whole))


def concatenate(datasets: Mapping[str, Dataset]) -> Dataset:
    """Several data sets of one model as one.

    Args:
        datasets: by name; the name is the slice of a data set that names none. Either all of them
            have labels or none.

    Raises:
        DataError: samples or labels of different shapes.
    """
    import numpy as np

    parts = list(datasets.values())
    labels = [part.label for part in parts if part.label is not None]
    slices = [
        np.full(len(part), name) if part.slice is None else part.slice
        for name, part in datasets.items()
    ]
    try:
        return Dataset(
            inputs={
                name: np.concatenate([part.inputs[name] for part in parts])
                for name in parts[0].inputs
            },
            label=np.concatenate(labels) if len(labels) == len(parts) else None,
            slice=np.concatenate(slices),
            whole=parts[0].whole,
        )
    except ValueError as error:
        raise DataError(
            f"{', '.join(datasets)} hold samples or labels of different shapes: {error}"
        ) from error


_DAMAGED: Final = (
    *(ValueError, EOFError, KeyError, RuntimeError),  # RuntimeError: encrypted, or not implemented
    *(zipfile.BadZipFile, zlib.error),
)


def read_arrays(path: Path) -> dict[str, Array]:
    """All arrays of an npz, by name; nothing pickled is ever loaded.

    Raises:
        DataError: the file cannot be read, or is no npz of plain arrays.
    """
    import numpy as np

    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{path.name} is a single array: save it with numpy.savez")
        with archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except _DAMAGED as error:
        raise DataError(
            f"{path.name} is not an npz of plain arrays ({error}): save it with numpy.savez, "
            "without object arrays"
        ) from error


def _typed(name: str, values: Array, dtype: str) -> Array:
    import numpy as np

    wanted = np.dtype(dtype)
    if wanted.kind == "f":
        if values.dtype.kind != "f":
            raise DataError(
                f"{name!r} holds {values.dtype}, the model takes {dtype}: convert it with "
                f".astype('{dtype}'), scaled as in training"
            )
        with np.errstate(over="ignore"):  # what overflows is infinite, and refused as such
            return values.astype(wanted, copy=False)
    if values.dtype.kind not in "iubf":
        raise DataError(f"{name!r} holds {values.dtype}, the model takes {dtype}: convert it")
    _require_finite(name, values)
    with np.errstate(invalid="ignore"):
        cast = values.astype(wanted, copy=False)
    if not np.array_equal(cast, values):
        raise DataError(
            f"{name!r} holds {values.dtype} values that {dtype}, which the model takes, cannot "
            "hold: round or scale them as in training"
        )
    return cast


def _fitted(name: str, values: Array, spec: TensorSpec) -> bool:
    """Check a shape; True when samples are fed whole, without a batch axis of their own."""
    rank = len(spec.shape)
    found = f"{name!r} has shape {_text(values.shape)}, the model takes {_text(spec.shape)}"
    if values.ndim == rank + 1:
        whole, sample = True, values.shape[1:]
    elif values.ndim == rank and rank > 0:
        whole, sample = False, (1, *values.shape[1:])
    else:
        raise DataError(f"{found}: give one more axis in front, over the samples")
    if len(values) == 0:
        raise DataError(f"{found}, and there is no sample in it: give at least one")
    if any(want not in (None, have) for want, have in zip(spec.shape, sample, strict=True)):
        fix = (
            f"the model's first axis is fixed, so give samples of shape (samples, "
            f"{', '.join(_axis(axis) for axis in spec.shape)})"
            if not whole and spec.shape[0] not in (None, 1)
            else "make every axis after the first equal to the model's"
        )
        raise DataError(f"{found}: {fix}")
    return whole


def _require_finite(name: str, values: Array) -> None:
    import numpy as np

    if values.dtype.kind not in "fc" or np.isfinite(values).all():
        return
    finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    bad = np.flatnonzero(~finite)
    raise DataError(
        f"{name!r} holds NaN or infinity in {len(bad)} of {len(values)} samples, first in sample "
        f"{bad[0]}: drop or repair those samples"
    )


def _require_equal_counts(arrays: Mapping[str, Array | None]) -> None:
    present = {name: values for name, values in arrays.items() if values is not None}
    scalars = [name for name, values in present.items() if values.ndim == 0]
    if scalars:
        raise DataError(f"{scalars[0]!r} is a single value: give one per sample")
    counts = {name: len(values) for name, values in present.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(f"the arrays differ in their number of samples: {listed}")


def _label(label: Array | None) -> Array | None:
    if label is None:
        return None
    if label.dtype.kind not in "iubf":
        raise DataError(
            f"'label' holds {label.dtype}: give class numbers, numbers to predict, or a 0/1 matrix"
        )
    _require_finite(LABEL, label)
    return label


def _slices(slices: Array | None) -> Array | None:
    if slices is None:
        return None
    if slices.ndim != 1 or slices.dtype.kind not in "iubUS":
        raise DataError(
            f"'slice' holds {slices.dtype} of shape {_text(slices.shape)}: give one name or whole "
            "number per sample"
        )
    return slices.astype(str)


def _text(shape: Sequence[int | None]) -> str:
    return f"({', '.join(_axis(axis) for axis in shape)})"


def _axis(axis: int | None) -> str:
    return "any" if axis is None else str(axis)
