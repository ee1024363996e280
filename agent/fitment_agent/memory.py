"""Keeps the idle daemon small."""

from __future__ import annotations

import gc
from typing import Final

from fitment_contract import artifact, benchmark, device, messages, variant
from fitment_contract.base import Record

# Inner records first. A validator that is ready is shared by every message that holds the record;
# one that is not is built anew inside each of them.
_SHARED: Final[tuple[type[Record], ...]] = (
    artifact.Encoding,
    artifact.Artifact,
    variant.TensorSpec,
    variant.RecipeStep,
    variant.Needs,
    variant.Golden,
    variant.Variant,
    benchmark.MetricSpec,
    benchmark.SliceScore,
    benchmark.Score,
    benchmark.Latency,
    benchmark.BenchmarkProtocol,
    benchmark.Conditions,
    benchmark.KernelCounts,
    benchmark.Sustained,
    benchmark.EnergyUse,
    benchmark.BenchmarkReport,
    benchmark.SessionTuning,
    device.RuntimeFacts,
    device.CoreCluster,
    device.DeviceFacts,
    messages.Window,
    messages.DeployConditions,
    messages.Evaluation,
    messages.LowPower,
    messages.Assignment,
    messages.Waiting,
    messages.Failure,
    messages.ActiveVariant,
    messages.ModelState,
)


def settle() -> None:
    """Once everything is built: what exists now is never garbage, so do not look at it again."""
    for record in _SHARED:
        record.model_rebuild()
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """After a burst of work: free what it left; the allocator is set to return it at once."""
    gc.collect()
