"""Records that only headquarters has. Frozen values: what they mean, not what is done with them.

Read them in the order of the data: a device and what it proved, evidence, a selection with a
verdict per candidate, a plan over many devices, a rollout that carries the plan out, the log.
"""

from fitment_controller.domain.devices import (
    Assigned,
    DesiredState,
    Device,
    DeviceFilter,
    DeviceModel,
    DeviceVitals,
    FleetCell,
    FleetSummary,
    LowPowerRef,
    Page,
    ReportedModel,
    VariantCell,
    VariantRef,
    in_use_of,
)
from fitment_controller.domain.evidence import Evidence, KnownFailure, ModelVersion
from fitment_controller.domain.log import LogEntry
from fitment_controller.domain.plan import (
    LowPowerRequest,
    Plan,
    PlannedDevice,
    PlannedStratum,
    RegionBytes,
    RolloutPolicy,
    RolloutRequest,
    Unplaceable,
    VariantChange,
)
from fitment_controller.domain.rollout import (
    GateResult,
    GateVerdict,
    Member,
    MemberState,
    Rollout,
    RolloutState,
    Stratum,
    StratumState,
)
from fitment_controller.domain.selection import (
    CandidateNumbers,
    Estimate,
    LowPowerPick,
    NumberSource,
    Outcome,
    Selection,
    Verdict,
)
from fitment_controller.domain.words import waiting_words

__all__ = [
    "Assigned",
    "CandidateNumbers",
    "DesiredState",
    "Device",
    "DeviceFilter",
    "DeviceModel",
    "DeviceVitals",
    "Estimate",
    "Evidence",
    "FleetCell",
    "FleetSummary",
    "GateResult",
    "GateVerdict",
    "KnownFailure",
    "LogEntry",
    "LowPowerPick",
    "LowPowerRef",
    "LowPowerRequest",
    "Member",
    "MemberState",
    "ModelVersion",
    "NumberSource",
    "Outcome",
    "Page",
    "Plan",
    "PlannedDevice",
    "PlannedStratum",
    "RegionBytes",
    "ReportedModel",
    "Rollout",
    "RolloutPolicy",
    "RolloutRequest",
    "RolloutState",
    "Selection",
    "Stratum",
    "StratumState",
    "Unplaceable",
    "VariantCell",
    "VariantChange",
    "VariantRef",
    "Verdict",
    "in_use_of",
    "waiting_words",
]
