"""The converter's environment: installed, shown, removed."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fitment_compress.converter.errors import ConverterError
from fitment_compress.converter.log import last_line
from fitment_compress.converter.settings import (
    FOLDER_VARIABLE,
    VERSIONS,
    candidate_interpreters,
    default_folder,
)

INSTALL_COMMAND: Final = "fitment converter install"
MARKER: Final = "fitment-converter.json"
"""The file that says that a folder is ours to delete; written last, so that it means whole."""

_REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
_PROBE: Final = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
_PROBE_SECONDS: Final = 20.0
_INSTALL_SECONDS: Final = 1800.0

Tell = Callable[[str], None]
"""Called with what is being done, in one line."""


@dataclass(frozen=True)
class Status:
    """What is in the converter's folder.

    Attributes:
        folder: where it is or would be.
        installed: it is whole and of the versions that this Fitment pins.
        outdated: it is whole, for another Fitment.
        python: the version of its interpreter; empty when there is none.
        packages: name and version of what is pinned for it.
        size_bytes: of the folder, on disk.
    """

    folder: Path
    installed: bool
    outdated: bool = False
    python: str = ""
    packages: tuple[tuple[str, str], ...] = ()
    size_bytes: int = 0

    @property
    def interpreter(self) -> Path:
        """The Python that runs the converter."""
        return _interpreter(self.folder)


def status(folder: Path | None = None) -> Status:
    """What is in `folder`, or in the default one."""
    folder = folder or default_folder()
    try:
        marker = dict(json.loads((folder / MARKER).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return Status(folder, installed=False)
    whole = _interpreter(folder).exists()
    current = marker.get("requirements") == _digest()
    return Status(
        folder,
        installed=whole and current,
        outdated=whole and not current,
        python=str(marker.get("python", "")),
        packages=_pinned(),
        size_bytes=_size(folder),
    )


def require() -> Status:
    """The installed converter.

    Raises:
        ConverterError: it is not installed, or belongs to another version of Fitment.
    """
    found = status()
    if found.outdated:
        raise ConverterError(
            f"The converter in {found.folder} belongs to another version of Fitment.",
            f"Run `{INSTALL_COMMAND}`: it replaces it.",
        )
    if not found.installed:
        raise ConverterError(
            f"The converter to .tflite is not installed (looked in {found.folder}).",
            f"Run `{INSTALL_COMMAND}`, or name its folder in {FOLDER_VARIABLE}.",
        )
    return found


def install(folder: Path | None = None, python: Path | None = None, tell: Tell = print) -> Status:
    """Make the environment anew; what was there before is replaced once the new one works.

    Args:
        folder: where; the default folder when None.
        python: an interpreter to use; one is looked for when None.
        tell: progress, in lines.

    Raises:
        ConverterError: no Python is new enough, the folder holds something else, or pip failed.
    """
    folder = (folder or default_folder()).absolute()
    _refuse_foreign(folder)
    base, version = _find_python(python)
    tell(f"Python {version}: {base}")
    begin = time.monotonic()
    building = folder.with_name(folder.name + ".partial")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.parent.mkdir(parents=True, exist_ok=True)
        _run([str(base), "-m", "venv", str(building)], "The environment cannot be made.")
        tell("installing " + ", ".join(f"{name} {number}" for name, number in _pinned()))
        _install_packages(_interpreter(building))
        _check_import(_interpreter(building))
        marker = {"requirements": _digest(), "python": version}
        (building / MARKER).write_text(json.dumps(marker) + "\n", "utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        building.rename(folder)
    except OSError as error:
        raise ConverterError(
            f"The converter cannot be written to {folder}: {error.strerror or error}.",
            "Name another folder with --at.",
        ) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    done = status(folder)
    tell(f"{done.size_bytes / 1e6:.0f} MB in {folder}, {time.monotonic() - begin:.0f} s")
    return done


def remove(folder: Path | None = None) -> Path | None:
    """Delete the environment; the folder that is gone, None when there was none.

    Raises:
        ConverterError: the folder holds something else, or cannot be deleted.
    """
    folder = (folder or default_folder()).absolute()
    if not folder.exists():
        return None
    _refuse_foreign(folder)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise ConverterError(
            f"{folder} cannot be deleted: {error.strerror or error}.",
            "Make it writable, or delete it yourself.",
        ) from error
    return folder


def _interpreter(folder: Path) -> Path:
    return folder / "bin" / "python"


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists() or (folder / MARKER).is_file():
        return
    if folder.is_dir() and not any(folder.iterdir()):
        return
    raise ConverterError(
        f"{folder} holds something that is not the converter.",
        "Name another folder with --at, or delete it yourself.",
    )


def _find_python(wanted: Path | None) -> tuple[Path, str]:
    """An interpreter and its version."""
    if wanted is not None:
        version = _version_of(wanted)
        if version not in VERSIONS:
            what = f"is Python {version}" if version else "is no Python with venv and ensurepip"
            raise ConverterError(
                f"{wanted} {what}; the converter needs Python {' or '.join(VERSIONS)}.",
                "Name another one with --python.",
            )
        return wanted, version
    for path in candidate_interpreters():
        version = _version_of(path)
        if version in VERSIONS:
            return path, version
    raise ConverterError(
        f"The converter needs Python {' or '.join(VERSIONS)}, and none was found.",
        "Install one (`apt-get install python3.12 python3.12-venv`, `pyenv install 3.12` or "
        "`uv python install 3.12`), or name it with --python PATH.",
    )


def _version_of(python: Path) -> str:
    """`3.12`; empty when it does not run, or cannot make environments."""
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _install_packages(python: Path) -> None:
    options = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check"]
    _run(
        [str(python), "-m", "pip", "install", *options, "-r", str(_REQUIREMENTS)],
        "pip could not install the converter.",
        "Check the network and pip's settings, then try again.",
    )
    # Nothing is installed into it again, and pip is a tenth of it.
    _run([str(python), "-m", "pip", "uninstall", "--yes", "--quiet", "pip"], "pip failed.")


def _check_import(python: Path) -> None:
    _run(
        [str(python), "-I", "-c", "import onnx2tf.onnx2tf"],
        "The converter was installed and cannot be imported.",
    )


def _run(command: Sequence[str], problem: str, fix: str = "") -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ConverterError(f"{problem} It took longer than {_INSTALL_SECONDS:.0f} s.") from None
    if done.returncode:
        said = last_line(done.stderr) or last_line(done.stdout)
        raise ConverterError(f"{problem} It said: {said}", fix)


def _digest() -> str:
    return hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()


def _pinned() -> tuple[tuple[str, str], ...]:
    lines = _REQUIREMENTS.read_text("utf-8").splitlines()
    pins = [line.split("==") for line in lines if "==" in line]
    return tuple((name.strip(), version.strip()) for name, version in pins)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
