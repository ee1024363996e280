"""The agent and what it needs, installed for another processor from the built wheel.

The host's pip resolves and unpacks wheels for the device, which takes seconds; nothing is built
and nothing runs. Where a processor has no wheel of a package, the device does without, as a
person's device would.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

from tools.arm.host import run
from tools.arm.roots import PYTHON, compile_python

_MACHINES: Final = {"arm64": "aarch64", "armhf": "armv7l"}
_GLIBC_MINORS: Final = (36, 35, 34, 31, 28, 27, 26, 24, 17)
_RUNTIMES: Final = {"arm64": ("onnxruntime>=1.20", "numpy>=1.26"), "armhf": ()}
_ALONE: Final = {"arm64": (), "armhf": ("tflite-runtime>=2.14",)}
"""Installed without what they ask for: here numpy, which Debian has for armhf and PyPI has not."""
_WITHOUT: Final = {"arm64": (), "armhf": ("psutil",)}
"""Packages that have no wheel for the processor. The agent runs without them."""


def build_wheel(repository: Path, folder: Path) -> Path:
    """The project's wheel, built anew."""
    shutil.rmtree(folder, ignore_errors=True)
    source = repository.resolve()
    run([*_pip("wheel"), "--no-deps", "--wheel-dir", folder, source], "building the wheel")
    (wheel,) = folder.glob("fitment-*.whl")
    return wheel


def build_site(architecture: str, wheel: Path, cache: Path) -> Path:
    """A folder for PYTHONPATH with the agent of `wheel`, its packages and a runtime.

    Everything but the agent itself comes from `cache` when it is there already.
    """
    wanted = [*_base_requirements(_WITHOUT[architecture]), *_RUNTIMES[architecture]]
    alone = _ALONE[architecture]
    key = hashlib.sha256(" ".join((PYTHON, *wanted, *alone)).encode()).hexdigest()[:8]
    packages = cache / f"packages-{architecture}-{key}"
    if not packages.is_dir():
        unfinished = packages.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        _install(architecture, unfinished, *wanted)
        if alone:
            _install(architecture, unfinished, "--no-deps", *alone)
        compile_python(unfinished)
        unfinished.rename(packages)
    site = cache / f"site-{architecture}"
    shutil.rmtree(site, ignore_errors=True)
    run(["cp", "-al", packages, site], "linking the packages")
    _install(architecture, site, "--no-deps", str(wheel))
    for package in ("fitment_agent", "fitment_contract", "fitment_runtime"):
        compile_python(site / package)
    return site


def _base_requirements(without: tuple[str, ...]) -> list[str]:
    """What the project asks for on every device."""
    found = [line for line in metadata.requires("fitment") or () if "extra ==" not in line]
    return [line for line in found if re.split(r"[^A-Za-z0-9._-]", line)[0] not in without]


def _install(architecture: str, folder: Path, *wanted: str) -> None:
    machine = _MACHINES[architecture]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC_MINORS]
    platforms += [f"manylinux2014_{machine}", f"linux_{machine}"]
    terms = ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}"]
    for abi in (f"cp{PYTHON.replace('.', '')}", "abi3", "none"):
        terms += ["--abi", abi]
    for platform in platforms:
        terms += ["--platform", platform]
    command = [*_pip("install"), "--upgrade", "--no-compile", "--target", folder, *terms, *wanted]
    run(command, f"installing {' '.join(wanted)} for {machine}")


def _pip(command: str) -> list[str]:
    return [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check"]
