"""Golden inputs: a few inputs with the outputs that the build host computed for them.

They prove on another machine that a file still computes what it did, before anything is scored.
The npz holds `input.<name>` and `output.<name>` arrays; the leading axis counts the inferences and
the rest is exactly what was fed and what came out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from fitment_runtime.dataset import Dataset, read_arrays
from fitment_runtime.errors import DataError, GoldenMismatch, InferenceFailure
from fitment_runtime.session import Session

if TYPE_CHECKING:
    from fitment_runtime.session import Array

_INPUT: Final = "input."
_OUTPUT: Final = "output."


def write_golden(path: Path, session: Session, dataset: Dataset, count: int = 4) -> None:
    """Run the first `count` samples and write what went in and came out to `path`.

    Raises:
        InferenceFailure: a sample could not be run, or an output is NaN or infinite.
    """
    import numpy as np

    feeds = [dataset.feeds(index) for index in range(min(count, len(dataset)))]
    results = [session.run(feed) for feed in feeds]
    arrays: dict[str, Array] = {}
    for spec in session.inputs:
        arrays[_INPUT + spec.name] = np.stack([feed[spec.name] for feed in feeds])
    for position, spec in enumerate(session.outputs):
        values = np.stack([result[position] for result in results])
        if not np.isfinite(values).all():
            raise InferenceFailure(f"output {spec.name!r} is NaN or infinite for the golden inputs")
        arrays[_OUTPUT + spec.name] = values
    with path.open("wb") as file:  # a file, because numpy appends .npz to a name
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub confuses names with options


def golden_feeds(path: Path) -> list[dict[str, Array]]:
    """The golden inputs, one dictionary per inference.

    Raises:
        GoldenMismatch: the file cannot be read.
    """
    arrays = _read(path)
    inputs = {
        name.removeprefix(_INPUT): values
        for name, values in arrays.items()
        if name.startswith(_INPUT)
    }
    count = min((len(values) for values in inputs.values()), default=0)
    if count == 0:
        raise GoldenMismatch(f"the golden file {path.name} holds no inputs: build it again")
    return [
        {name: _sample(values, index) for name, values in inputs.items()} for index in range(count)
    ]


def check_golden(path: Path, session: Session, tolerance: float) -> None:
    """Run the golden inputs and compare.

    Args:
        path: the golden npz.
        session: the loaded model.
        tolerance: largest allowed difference of any output element, relative to the largest
            magnitude of that output in the file (absolute where that is zero).

    Raises:
        GoldenMismatch: an output is missing, has another shape, is NaN, or is too far off; or the
            file itself is unusable.
        InferenceFailure: the model could not be run on them.
    """
    expected = _read(path)
    for index, feeds in enumerate(golden_feeds(path)):
        results = session.run(feeds)
        for spec, found in zip(session.outputs, results, strict=True):
            if _OUTPUT + spec.name not in expected:
                raise GoldenMismatch(f"the golden file has no output {spec.name!r}")
            _compare(spec.name, index, found, expected[_OUTPUT + spec.name], tolerance)


def _compare(name: str, index: int, found: Array, golden: Array, tolerance: float) -> None:
    import numpy as np

    if index >= len(golden) or found.shape != golden.shape[1:]:
        raise GoldenMismatch(
            f"output {name!r} has shape {found.shape} where the build host saw {golden.shape[1:]}"
        )
    wanted = golden.astype(np.float64)
    scale = float(np.abs(wanted).max(initial=0.0)) or 1.0
    with np.errstate(invalid="ignore"):
        difference = np.abs(found.astype(np.float64) - wanted[index]).max(initial=0.0) / scale
    if not difference <= tolerance:  # also when it is NaN
        raise GoldenMismatch(
            f"output {name!r} of golden input {index} differs by {difference:.3g} of its largest "
            f"magnitude; allowed is {tolerance:.3g}"
        )


def _read(path: Path) -> dict[str, Array]:
    try:
        return read_arrays(path)
    except DataError as error:
        raise GoldenMismatch(f"the golden file is unusable: {error.detail}") from error


def _sample(values: Array, index: int) -> Array:
    import numpy as np

    return np.asarray(values[index])
