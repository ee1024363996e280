"""A small portfolio folder: the records are whole, the blobs are bytes that nobody runs."""

from __future__ import annotations

from pathlib import Path

from fitment_contract.artifact import Artifact
from fitment_contract.base import sha256_hex
from fitment_contract.benchmark import MetricSpec
from fitment_contract.portfolio import (
    PORTFOLIO_FILE,
    DataSplit,
    EntryStatus,
    Portfolio,
    PortfolioEntry,
    SourceModel,
)
from fitment_contract.variant import Needs
from support.contract_samples import MOMENT, REPORT, VARIANT


def write_portfolio(folder: Path, model: str = "activity") -> Portfolio:
    """fp32 (slower, the baseline), int8 (faster, nearly as good), and one that failed."""
    (folder / "blobs").mkdir(parents=True)
    evaluation = _blob(folder, b"evaluation data " * 64)
    portfolio = Portfolio(
        model=model,
        created_at=MOMENT,
        source=SourceModel(
            file_name="model.onnx",
            digest=sha256_hex(b"source"),
            size_bytes=96_000,
            opset=17,
            inputs=VARIANT.inputs,
            outputs=VARIANT.outputs,
            parameters=24_000,
        ),
        data=DataSplit(
            calibration_count=100,
            evaluation_count=900,
            evaluation_share_labelled=1.0,
            source="eval.npz",
        ),
        metric=MetricSpec(name="top1"),
        evaluation=evaluation,
        baseline="fp32",
        build_host="a test",
        entries=(
            _entry(folder, model, "fp32", "fp32", accuracy=0.868, p95=0.004),
            _entry(folder, model, "int8", "int8", accuracy=0.864, p95=0.002),
            PortfolioEntry(name="int4", status=EntryStatus.FAILED, failure="no MatMul to quantise"),
        ),
    )
    (folder / PORTFOLIO_FILE).write_text(portfolio.model_dump_json())
    return portfolio


def _entry(
    folder: Path, model: str, name: str, precision: str, accuracy: float, p95: float
) -> PortfolioEntry:
    artifact = _blob(folder, f"{model} as {name} ".encode() * 4096)
    score = REPORT.scores[0].model_copy(update={"value": accuracy, "slices": {}})
    variant = VARIANT.model_copy(
        update={
            "name": name,
            "model": model,
            "precision": precision,
            "traits": ("baseline",) if name == "fp32" else (),
            "artifact": artifact,
            "compressed_bytes": artifact.size_bytes // 2,
            "golden": None,
            "needs": Needs(runtime="onnxruntime", opset=17, memory_bytes=1_000_000),
        }
    )
    report = REPORT.model_copy(
        update={
            "id": f"host-{name}",
            "model": model,
            "variant": name,
            "digest": artifact.digest,
            "simulated": False,
            "latency": REPORT.latency.model_copy(update={"p50_seconds": p95, "p95_seconds": p95}),
            "scores": (score.model_copy(update={"worst_slice": None}),),
        }
    )
    return PortfolioEntry(
        name=name,
        status=EntryStatus.LISTED,
        variant=variant,
        benchmark=report,
        pareto=True,
    )


def _blob(folder: Path, data: bytes) -> Artifact:
    artifact = Artifact(digest=sha256_hex(data), size_bytes=len(data))
    (folder / "blobs" / artifact.digest).write_bytes(data)
    return artifact
