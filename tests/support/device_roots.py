"""Folders that look like the roots of real devices, and what must hold of any reading of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fitment_agent.facts_screen import leaves, nearest
from fitment_agent.probe import MachineProbe
from fitment_agent.settings import Settings
from fitment_contract.device import DeviceFacts

ROOTS = Path(__file__).parent.parent / "agent" / "roots"
NAMES = sorted(root.name for root in ROOTS.iterdir())


def probe_of(root: Path, **changes: Any) -> MachineProbe:
    """A probe that takes a folder for the machine."""
    given: dict[str, Any] = {"device_id": "d", "state_dir": root, "root_prefix": root}
    return MachineProbe(Settings(**{**given, **changes}))


def assert_all_is_explained(facts: DeviceFacts, sources: Mapping[str, str]) -> None:
    """Each value has a source and no reason, each gap a reason and no source."""
    content = facts.model_dump(mode="json", exclude={"runtimes"})  # a worker knows those
    for path, value in leaves(content):
        source, reason = nearest(sources, path), nearest(facts.unknown, path)
        if value is None or value == "unknown":
            assert reason, path
            assert source is None, path
        elif value != []:
            assert source, path
            assert reason is None, path
        else:  # none, and known to be none, or not known
            assert (source is None) != (reason is None), path
