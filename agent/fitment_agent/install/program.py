"""Which program the service starts, and whether the service's user can reach it."""

from __future__ import annotations

import re
import sys
from pathlib import Path, PurePosixPath
from typing import Final

from fitment_agent.install.errors import InstallError

_PLAIN: Final = re.compile(r"/[A-Za-z0-9/._+-]+")
_PRIVATE: Final = ("home", "root")
_INSTALL: Final = (
    "Install Fitment where everybody can read it, and run its own `install`: "
    "sudo python3 -m venv /opt/fitment && sudo /opt/fitment/bin/pip install FITMENT_WHEEL && "
    "sudo /opt/fitment/bin/fitment-agent install"
)


def this_program() -> str:
    """The `fitment-agent` of the environment that this process runs in.

    Raises:
        InstallError: there is none.
    """
    path = Path(sys.executable).parent / "fitment-agent"
    if not path.is_file():
        raise InstallError(f"There is no {path}.", "Name the program with --program.")
    return str(path)


def check_plain(program: str) -> None:
    """Refuse a path that units and scripts would take apart.

    Raises:
        InstallError: it is not absolute, or holds unusual characters.
    """
    if not _PLAIN.fullmatch(program):
        raise InstallError(
            f"The program {program!r} is no absolute path of letters, digits and ._+-.",
            "Install Fitment under a plain path such as /opt/fitment.",
        )


def check_reachable(program: str) -> None:
    """Refuse a program that only its owner's account can read.

    Raises:
        InstallError: it, or the Python under it, is somebody's private one.
    """
    parts = [program]
    if Path(program).parent == Path(sys.executable).parent:  # a venv leans on another Python
        parts += [sys.prefix, sys.base_prefix]
    for part in parts:
        if PurePosixPath(part).parts[1:2] in [(name,) for name in _PRIVATE]:
            raise InstallError(f"{part} is in a home, which the service cannot read.", _INSTALL)
