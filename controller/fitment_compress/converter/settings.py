"""Where the converter lives, and where Python interpreters are looked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Final

FOLDER_VARIABLE: Final = "FITMENT_CONVERTER"
VERSIONS: Final = ("3.12", "3.13")
"""The Pythons for which every pinned package has a wheel, the preferred one first."""


def default_folder() -> Path:
    """$FITMENT_CONVERTER, else `fitment/converter` among the user's data."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "fitment" / "converter"


def candidate_interpreters() -> Iterator[Path]:
    """Interpreters that may be new enough: this one, those on the path, those of pyenv and uv."""
    if f"{sys.version_info.major}.{sys.version_info.minor}" in VERSIONS:
        yield Path(sys.executable)
    for version in VERSIONS:
        found = which(f"python{version}")
        if found:
            yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    uv = Path.home() / ".local" / "share" / "uv" / "python"
    for version in VERSIONS:
        yield from sorted(pyenv.glob(f"{version}.*/bin/python"))
        yield from sorted(uv.glob(f"cpython-{version}.*/bin/python3"))


def child_environment(scratch: Path) -> dict[str, str]:
    """What a converter's process sees: no settings of the user's, and no folder but `scratch`."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
