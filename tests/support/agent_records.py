"""Small valid records for tests of the agent's own logic."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from fitment_contract.artifact import Artifact
from fitment_contract.base import sha256_hex
from fitment_contract.benchmark import BenchmarkReport, Latency
from fitment_contract.messages import Assignment
from fitment_contract.variant import Needs, Variant

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)


def a_variant(name: str = "fp32", model: str = "activity") -> Variant:
    """A variant whose content is its name."""
    content = name.encode()
    return Variant(
        name=name,
        model=model,
        format="onnx",
        precision="fp32",
        artifact=Artifact(digest=sha256_hex(content), size_bytes=len(content)),
        compressed_bytes=len(content),
        needs=Needs(runtime="onnxruntime"),
    )


def an_assignment(name: str = "fp32", model: str = "activity", **terms: Any) -> Assignment:
    return Assignment(model=model, variant=a_variant(name, model), **terms)


def a_report(assignment: Assignment) -> BenchmarkReport:
    seconds = 0.001
    return BenchmarkReport(
        id="r1",
        model=assignment.model,
        variant=assignment.variant.name,
        digest=assignment.variant.digest,
        fingerprint="0" * 16,
        runtime="onnxruntime",
        runtime_version="1.0",
        started_at=NOW,
        latency=Latency(
            p50_seconds=seconds,
            p90_seconds=seconds,
            p95_seconds=seconds,
            p99_seconds=seconds,
            mean_seconds=seconds,
            count=5,
            threads=1,
        ),
        load_seconds=0.1,
        first_inference_seconds=0.01,
        peak_memory_bytes=1,
    )
