"""What every peer's script shares: it runs in the peer's environment, without Fitment."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

Make = Callable[[Path, Sequence[Mapping[str, "NDArray[Any]"]], Path], None]
"""Makes a file: (source model, calibration samples with batch axis 1, file to write)."""


def main(variants: Mapping[str, Make], suffix: str, packages: Sequence[str]) -> None:
    """Make every variant of SOURCE in OUT and say in one line of JSON each what came of it.

    Usage: SCRIPT SOURCE CALIBRATION.npz OUT

    Args:
        variants: by name; one that fails costs only itself.
        suffix: of the files.
        packages: whose versions the results belong to.
    """
    source, calibration, out = map(Path, sys.argv[1:])
    samples = load(calibration)
    for name, make in variants.items():
        path = out / f"{name}{suffix}"
        said: dict[str, Any] = {
            "name": name,
            "versions": {package: version(package) for package in packages},
        }
        try:
            make(source, samples, path)
            said["file"] = path.name
        except Exception as error:  # noqa: BLE001 - whatever a peer raises is its result
            said["failure"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        print("\n" + json.dumps(said), flush=True)  # libraries leave lines without an end


def load(path: Path) -> list[dict[str, NDArray[Any]]]:
    """The samples of an npz file, one dictionary each."""
    import numpy as np

    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    count = len(next(iter(arrays.values())))
    return [{name: values[i : i + 1] for name, values in arrays.items()} for i in range(count)]
