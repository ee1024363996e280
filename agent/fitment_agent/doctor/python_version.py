"""Does this Python do?"""

from __future__ import annotations

import sys

from fitment_agent.doctor.finding import Finding, ok, warn
from fitment_agent.doctor.patient import Patient

_NAME = "python"
_TOML = "/etc/fitment/agent.toml"


def check(patient: Patient, version: tuple[int, ...] = sys.version_info[:3]) -> list[Finding]:
    """Python 3.10 works, but reads no TOML."""
    text = ".".join(map(str, version))
    if version < (3, 11) and patient.machine.exists(_TOML):
        return [
            warn(
                _NAME,
                f"Python {text} cannot read {_TOML}",
                f"write the same keys as JSON to {_TOML.removesuffix('toml')}json and delete it",
            )
        ]
    return [ok(_NAME, text)]
