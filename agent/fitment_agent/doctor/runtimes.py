"""Is there anything that runs models?"""

from __future__ import annotations

from dataclasses import dataclass

from fitment_agent.doctor.finding import Finding, fail, ok
from fitment_agent.doctor.patient import Patient
from fitment_agent.errors import BenchmarkFailedError
from fitment_contract.device import RuntimeFacts
from fitment_runtime.catalog import installed_runtimes

_NAME = "runtimes"
_LAST_TFLITE_PYTHON = (3, 11)


@dataclass(frozen=True)
class Platform:
    """What decides which wheels there are.

    Attributes:
        architecture: as `uname -m` says it.
        libc: as the probe says it: `glibc 2.36`, `musl`, `bionic 34`.
        pip: the command that installs packages.
    """

    architecture: str
    libc: str
    python: tuple[int, int]
    pip: str


def check(patient: Patient) -> list[Finding]:
    """Every installed runtime must load; there must be one."""
    installed = installed_runtimes()
    if not installed:
        return [fail(_NAME, *advice(_platform(patient)))]
    # Looking at them means importing them, in a process of its own.
    from fitment_agent.local_bench import look_at_runtimes

    try:
        return judge(installed, look_at_runtimes(), _platform(patient))
    except BenchmarkFailedError as error:
        return [fail(_NAME, error.detail, f"{patient.pip} --force-reinstall {_names(installed)}")]


def judge(
    installed: tuple[RuntimeFacts, ...], usable: tuple[RuntimeFacts, ...], platform: Platform
) -> list[Finding]:
    """One finding for each installed runtime."""
    findings = []
    loaded = {runtime.name: runtime for runtime in usable}
    for runtime in installed:
        title = f"{runtime.name} {runtime.version}"
        if runtime.name in loaded:
            findings.append(ok(_NAME, title))
        elif platform.libc.startswith("bionic"):
            findings.append(fail(_NAME, f"{title} cannot be imported", advice(platform)[1]))
        else:
            again = f"{platform.pip} --force-reinstall --no-cache-dir {_names((runtime,))}"
            findings.append(fail(_NAME, f"{title} is installed and cannot be imported", again))
    return findings


def advice(platform: Platform) -> tuple[str, str]:
    """Why there is no runtime here, and the command that installs one."""
    version = ".".join(map(str, platform.python))
    if platform.libc.startswith("bionic"):
        return (
            "no runtime: wheels for Linux do not install on Android, and Termux's own "
            "python-onnxruntime cannot be imported since Python 3.13",
            "pkg install proot-distro && proot-distro install debian, then install Fitment inside "
            "it: see deploy/termux",
        )
    if platform.libc.startswith("musl"):
        return (
            f"no runtime has wheels for musl ({platform.architecture})",
            "use a system with glibc, such as Debian, or a container with one",
        )
    if platform.architecture.startswith("armv"):
        if platform.python <= _LAST_TFLITE_PYTHON:
            return (
                "no runtime: on 32-bit ARM only tflite-runtime has wheels, with Debian's numpy",
                "sudo apt-get install python3-numpy && make the environment anew with "
                f"`python3 -m venv --system-site-packages`, then {platform.pip} tflite-runtime",
            )
        return (
            f"no runtime has wheels for 32-bit ARM and Python {version}",
            "install a 64-bit system, or one with Python 3.11 (Raspberry Pi OS bookworm)",
        )
    return "no runtime: this device can run no model", f"{platform.pip} onnxruntime numpy"


def _platform(patient: Patient) -> Platform:
    hardware, system = patient.facts.hardware, patient.facts.os
    parts = (system.python or "3.10").split(".")
    return Platform(
        architecture=hardware.architecture or "",
        libc=system.libc or "",
        python=(int(parts[0]), int(parts[1])),
        pip=patient.pip,
    )


def _names(runtimes: tuple[RuntimeFacts, ...]) -> str:
    packages = {"onnxruntime": "onnxruntime", "litert": "ai-edge-litert"}
    return " ".join(packages.get(runtime.name, runtime.name) for runtime in runtimes)
