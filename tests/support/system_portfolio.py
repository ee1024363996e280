"""Portfolio folders made by hand, so that a rollout can be given any file, also a hostile one.

The build-host numbers in them are declared, not measured: what the tests look at is what
devices report.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from fitment_contract.artifact import Artifact
from fitment_contract.base import sha256_hex
from fitment_contract.benchmark import BenchmarkReport, Latency, MetricSpec, Score
from fitment_contract.portfolio import (
    PORTFOLIO_FILE,
    DataSplit,
    EntryStatus,
    Portfolio,
    PortfolioEntry,
    SourceModel,
)
from fitment_contract.variant import Golden, Needs, TensorSpec, Variant
from fitment_runtime.catalog import find_runtime
from fitment_runtime.dataset import load_dataset
from fitment_runtime.golden import write_golden
from support.runtime_models import save_mlp

MODEL = "toy"
FEATURES, CLASSES, SAMPLES = 8, 3, 240
MOMENT = datetime(2026, 11, 23, tzinfo=timezone.utc)
INPUTS = (TensorSpec(name="x", dtype="float32", shape=(None, FEATURES)),)
OUTPUTS = (TensorSpec(name="y", dtype="float32", shape=(None, CLASSES)),)


@dataclass(frozen=True)
class Build:
    """A file and what the build host would have said of it."""

    path: Path
    p50_seconds: float = 1e-3
    accuracy: float = 1.0
    own_golden: bool = False
    runtime: str = "onnxruntime"
    precision: str = "fp32"


def write_toy_portfolio(
    folder: Path, builds: Mapping[str, Build] | None = None, version: int = 1
) -> Portfolio:
    """A portfolio whose baseline is a small MLP; `builds` adds variants or replaces `fp32`."""
    folder.mkdir(parents=True)
    reference = save_mlp(folder / "reference.onnx", FEATURES, CLASSES)
    evaluation = _write_evaluation(folder / "eval.npz", reference)
    golden = folder / "golden.npz"
    write_golden(
        golden, find_runtime("onnxruntime").load(reference), load_dataset(evaluation, INPUTS)
    )
    entries = []
    for name, build in {"fp32": Build(reference), **(builds or {})}.items():
        entries.append(_entry(folder, name, build, golden, version))
    portfolio = Portfolio(
        model=MODEL,
        model_version=version,
        created_at=MOMENT,
        source=SourceModel(
            file_name="toy.onnx",
            digest=sha256_hex(reference.read_bytes()),
            size_bytes=reference.stat().st_size,
            opset=17,
            inputs=INPUTS,
            outputs=OUTPUTS,
            parameters=195,
        ),
        data=DataSplit(
            calibration_count=0, evaluation_count=SAMPLES, evaluation_share_labelled=1, source="toy"
        ),
        metric=MetricSpec(name="top1"),
        evaluation=_blob(folder, evaluation),
        baseline="fp32",
        build_host="declared by a test",
        entries=tuple(entries),
    )
    (folder / PORTFOLIO_FILE).write_text(portfolio.model_dump_json(indent=1))
    return portfolio


def save_collapsed(path: Path) -> Path:
    """A model that loads and runs quickly and is right about as often as chance allows."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(save_mlp(path, FEATURES, CLASSES))
    for tensor in model.graph.initializer:
        if tensor.name == "w2":
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), "w2"))
    path.write_bytes(model.SerializeToString())
    return path


def _write_evaluation(path: Path, reference: Path) -> Path:
    """Samples labelled by the reference itself, so that it is right every time."""
    x = np.random.default_rng(5).normal(size=(SAMPLES, FEATURES)).astype(np.float32)
    session = find_runtime("onnxruntime").load(reference)
    (y,) = session.run({"x": x})
    places = np.where(np.arange(SAMPLES) % 2 == 0, "indoors", "outdoors")
    np.savez_compressed(path, x=x, label=y.argmax(axis=1).astype(np.int64), slice=places)
    return path


def _entry(folder: Path, name: str, build: Build, golden: Path, version: int) -> PortfolioEntry:
    runtime = find_runtime(build.runtime)
    if build.own_golden:
        session = runtime.load(build.path)
        golden = folder / f"golden-{name}.npz"
        write_golden(golden, session, load_dataset(folder / "eval.npz", INPUTS))
    artifact = _blob(folder, build.path)
    variant = Variant(
        name=name,
        model=MODEL,
        model_version=version,
        format=runtime.formats[0],
        precision=build.precision,
        traits=("baseline",) if name == "fp32" else (),
        inputs=INPUTS,
        outputs=OUTPUTS,
        artifact=artifact,
        compressed_bytes=artifact.size_bytes,
        golden=Golden(artifact=_blob(folder, golden), tolerance=1e-3),
        needs=Needs(
            runtime=runtime.name,
            opset=17 if runtime.name == "onnxruntime" else None,
            memory_bytes=1_000_000,
        ),
    )
    return PortfolioEntry(
        name=name,
        status=EntryStatus.LISTED,
        variant=variant,
        benchmark=_declared(variant, build),
        parameters=195,
    )


def _declared(variant: Variant, build: Build) -> BenchmarkReport:
    p50 = build.p50_seconds
    return BenchmarkReport(
        id=f"build-{variant.name}-{variant.model_version}",
        model=variant.model,
        variant=variant.name,
        digest=variant.digest,
        fingerprint="0" * 16,
        runtime=build.runtime,
        runtime_version="0",
        started_at=MOMENT,
        latency=Latency(
            p50_seconds=p50,
            p90_seconds=p50 * 1.1,
            p95_seconds=p50 * 1.2,
            p99_seconds=p50 * 1.5,
            mean_seconds=p50,
            count=100,
            threads=1,
        ),
        load_seconds=0.01,
        first_inference_seconds=0.001,
        peak_memory_bytes=1_000_000,
        scores=(Score(metric="top1", value=build.accuracy, standard_error=0.0, count=SAMPLES),),
    )


def _blob(folder: Path, path: Path) -> Artifact:
    data = path.read_bytes()
    digest = sha256_hex(data)
    blobs = folder / "blobs"
    blobs.mkdir(exist_ok=True)
    shutil.copy(path, blobs / digest)
    return Artifact(digest=digest, size_bytes=len(data))


def save_slowed(path: Path, trips: int = 3000) -> Path:
    """The reference with a loop behind it: the same answers, many times later."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(save_mlp(path, FEATURES, CLASSES))
    graph = model.graph
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_in"], ["go_out"]),
            helper.make_node("Abs", ["zero_in"], ["zero_out"]),
        ],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("go_in", TensorProto.BOOL, []),
            value("zero_in", TensorProto.FLOAT, [None, CLASSES]),
        ],
        [
            value("go_out", TensorProto.BOOL, []),
            value("zero_out", TensorProto.FLOAT, [None, CLASSES]),
        ],
    )
    graph.node[-1].output[0] = "fast"
    graph.node.extend(
        [
            helper.make_node("Sub", ["fast", "fast"], ["zero"]),
            helper.make_node("Loop", ["trips", "go", "zero"], ["still_zero"], body=body),
            helper.make_node("Add", ["fast", "still_zero"], ["y"]),
        ]
    )
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(trips, np.int64), "trips"),
            numpy_helper.from_array(np.array(True), "go"),
        ]
    )
    path.write_bytes(model.SerializeToString())
    return path
