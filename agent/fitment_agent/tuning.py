"""The job that tunes what is active on a device."""

from __future__ import annotations

from pathlib import Path

from fitment_agent.worker.jobs import TuneJob
from fitment_contract.device import DeviceFacts
from fitment_contract.messages import Assignment


def tune_job(assignment: Assignment, state_dir: Path, facts: DeviceFacts) -> TuneJob:
    """The job for an assignment whose files are under `state_dir`.

    A variant that needs a certain provider is not measured on others. Nor is anything on providers
    that the device did not list: facts that a file declares say nothing about this machine.
    """
    variant = assignment.variant
    wanted = variant.needs.providers_any_of
    listed = [one.providers for one in facts.runtimes if one.name == variant.needs.runtime]
    here = listed[0] if listed and not facts.simulated else ()
    others = () if wanted else tuple(name for name in here if not name.startswith("CPU"))
    return TuneJob(
        state_dir=str(state_dir),
        variant=variant,
        fingerprint=facts.fingerprint,
        needed=tuple(name for name in wanted if name in here) or wanted,
        providers=others,
        clusters=facts.hardware.clusters,
        memory_limit_bytes=assignment.protocol.memory_limit_bytes,
    )
