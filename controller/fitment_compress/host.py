"""The machine that compresses, in the words in which devices describe themselves."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from fitment_contract.device import DeviceFacts, Hardware
from fitment_runtime.catalog import installed_runtimes
from fitment_runtime.conditions import isa_features


def host_facts() -> DeviceFacts:
    """Processor and runtimes of this machine."""
    return DeviceFacts(
        hardware=Hardware(
            soc=_processor(),
            architecture=platform.machine() or None,
            isa=isa_features(),
            cores=os.cpu_count(),
        ),
        runtimes=installed_runtimes(),
    )


def describe_host(facts: DeviceFacts) -> str:
    """One line for the reader of a portfolio: what decided the kernels, and so the latencies."""
    hardware = facts.hardware
    runtimes = ", ".join(f"{runtime.name} {runtime.version}" for runtime in facts.runtimes)
    return (
        f"{hardware.soc or 'unknown processor'} ({hardware.architecture}, {hardware.cores} cores; "
        f"{' '.join(hardware.isa) or 'no known instruction-set features'}), "
        f"{runtimes or 'no runtime'}"
    )


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or None
