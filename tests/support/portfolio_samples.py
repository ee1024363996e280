"""Portfolios as compression would write them, made of a few numbers per candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from fitment_contract.artifact import Artifact
from fitment_contract.base import sha256_hex
from fitment_contract.benchmark import (
    Agreement,
    BenchmarkReport,
    Difference,
    KernelCounts,
    Latency,
    MetricSpec,
    Score,
    SliceScore,
)
from fitment_contract.portfolio import (
    DataSplit,
    EntryStatus,
    LayerSensitivity,
    Portfolio,
    PortfolioEntry,
    SourceModel,
    StageResult,
)
from fitment_contract.variant import Needs, RecipeStep, TensorSpec, Variant

MOMENT = datetime(2026, 1, 1, 12, 30, tzinfo=timezone.utc)
SAMPLES = 10_000


def step(technique: str, **options: Any) -> RecipeStep:
    return RecipeStep(technique=technique, options=options)


@dataclass(frozen=True)
class Made:
    """A candidate in a few numbers: score in its unit, bytes, seconds; `failure` makes it fail."""

    name: str
    steps: tuple[RecipeStep, ...] = ()
    score: float = 0.919
    error: float = 0.0027
    transferred: int = 504_900
    size: int = 545_400
    seconds: float = 89e-6
    difference_error: float = 0.002
    parameters: int = 135_274
    macs: int = 3_618_944
    stages: tuple[StageResult, ...] = ()
    integer: int = 0
    front: bool = False
    failure: str | None = None
    worst: str = "Shirt"


def sample(
    *made: Made,
    metric: str = "top1",
    higher_is_better: bool = True,
    compared: bool = True,
    labelled: bool = True,
) -> Portfolio:
    """A portfolio of these candidates; the first is the baseline.

    Args:
        made: the candidates.
        metric: of the scores.
        higher_is_better: its direction.
        compared: entries say their difference from the baseline.
        labelled: the evaluation samples had labels.
    """
    baseline = made[0]
    entries = []
    for one in made:
        entry = _entry(one, baseline, metric, higher_is_better)
        entries.append(entry if compared else entry.model_copy(update={"difference": None}))
    return Portfolio(
        model="fashion",
        model_version=3,
        created_at=MOMENT,
        source=SourceModel(
            file_name="model.onnx",
            digest="a" * 64,
            size_bytes=546_000,
            opset=17,
            inputs=(TensorSpec(name="image", dtype="float32", shape=(None, 1, 28, 28)),),
            outputs=(TensorSpec(name="logits", dtype="float32", shape=(None, 10)),),
            parameters=baseline.parameters,
            macs=baseline.macs,
        ),
        data=DataSplit(
            calibration_count=300,
            evaluation_count=SAMPLES,
            training_count=60_000,
            training_share_labelled=1.0,
            evaluation_share_labelled=1.0 if labelled else 0.0,
            source="eval.npz, calibration.npz and training.npz",
        ),
        metric=MetricSpec(name=metric),
        baseline=baseline.name,
        build_host="Example CPU (x86_64), onnxruntime 1.32.0",
        entries=tuple(entries),
    )


def _entry(one: Made, baseline: Made, metric: str, higher_is_better: bool) -> PortfolioEntry:
    if one.failure is not None:
        return PortfolioEntry(
            name=one.name,
            status=EntryStatus.FAILED,
            recipe=one.steps,
            failure=one.failure,
            stages=one.stages,
        )
    slices = {
        one.worst: SliceScore(value=one.score * 0.85, count=1000, standard_error=0.01),
        "Bag": SliceScore(value=one.score, count=1000, standard_error=0.004),
    }
    score = Score(
        metric=metric,
        value=one.score,
        standard_error=one.error,
        count=SAMPLES,
        higher_is_better=higher_is_better,
        slices=slices,
        worst_slice=one.worst,
    )
    change = Difference(
        value=one.score - baseline.score,
        standard_error=0.0 if one is baseline else one.difference_error,
        count=SAMPLES,
    )
    variant = Variant(
        name=one.name,
        model="fashion",
        model_version=3,
        format="onnx",
        precision="int8" if one.integer else "fp32",
        recipe=one.steps,
        artifact=Artifact(digest=sha256_hex(one.name.encode()), size_bytes=one.size),
        compressed_bytes=one.transferred,
        needs=Needs(runtime="onnxruntime", opset=17),
    )
    return PortfolioEntry(
        name=one.name,
        status=EntryStatus.LISTED,
        recipe=one.steps,
        variant=variant,
        benchmark=_report(one, score),
        agreement=Agreement(
            value=max(0.0, 1 - 3 * abs(change.value) / max(baseline.score, 1)),
            standard_error=0.001,
            count=SAMPLES,
            max_abs_difference=0.1,
        ),
        difference=change,
        latency_all_threads=latency(one.seconds * 0.7, threads=2),
        parameters=one.parameters,
        macs=one.macs,
        peak_activation_bytes=50_176 * one.macs // baseline.macs,
        stages=one.stages,
        transferred_ratio=one.transferred / baseline.transferred,
        pareto=one.front,
    )


def _report(one: Made, score: Score) -> BenchmarkReport:
    return BenchmarkReport(
        id=one.name,
        model="fashion",
        variant=one.name,
        digest=sha256_hex(one.name.encode()),
        fingerprint="0" * 16,
        runtime="onnxruntime",
        runtime_version="1.32.0",
        started_at=MOMENT,
        latency=latency(one.seconds),
        load_seconds=0.01,
        first_inference_seconds=0.001,
        peak_memory_bytes=7_000_000 + one.size,
        scores=(score,),
        kernels=KernelCounts(
            convolutions=13,
            integer_convolutions=one.integer,
            matmuls=1,
            integer_matmuls=min(one.integer, 1),
        ),
    )


def latency(p50_seconds: float, threads: int = 1) -> Latency:
    return Latency(
        p50_seconds=p50_seconds,
        p90_seconds=p50_seconds * 1.06,
        p95_seconds=p50_seconds * 1.1,
        p99_seconds=p50_seconds * 1.34,
        mean_seconds=p50_seconds * 1.02,
        count=int(1 / p50_seconds),
        threads=threads,
    )


def stage(
    made: RecipeStep,
    score: float,
    transferred: int,
    seconds: float,
    *,
    size: int = 545_400,
    took: float = 0.4,
    parameters: int = 135_274,
    macs: int = 3_618_944,
    sensitivity: tuple[LayerSensitivity, ...] = (),
    notes: tuple[str, ...] = (),
) -> StageResult:
    """What a model was after one step, relative to the baseline of `Made`."""
    return StageResult(
        step=made,
        seconds=took,
        size_bytes=size,
        compressed_bytes=transferred,
        parameters=parameters,
        macs=macs,
        score=Score(metric="top1", value=score, standard_error=0.0027, count=SAMPLES),
        difference=Difference(value=score - 0.919, standard_error=0.002, count=SAMPLES),
        latency=latency(seconds),
        sensitivity=sensitivity,
        notes=notes,
    )


INT8 = step("int8-static", activation="u8", weight="s8", per_channel=True)
PRUNE = step("magnitude-prune", sparsity=0.8)
RECOVER = step("recover", epochs=3)
CHANNELS = step("prune-channels", ratio=0.5)
SHARE = step("share-weights", bits=5)


def layers(spared: Sequence[int] = (1, 9)) -> tuple[LayerSensitivity, ...]:
    """Thirteen convolutions and a product, as a sensitivity analysis finds them."""
    noise = (
        3e-4,
        2.1e-2,
        8e-4,
        1.1e-3,
        6e-5,
        9e-4,
        2e-3,
        4e-5,
        7e-4,
        3.4e-2,
        5e-4,
        1e-5,
        2e-4,
        0.0,
    )
    return tuple(
        LayerSensitivity(
            layer=f"/stage{place // 4}/conv{place}/Conv" if place < 13 else "/head/Gemm",
            operator="Conv" if place < 13 else "Gemm",
            noise_ratio=value,
            spared=place in spared,
        )
        for place, value in enumerate(noise)
    )


def _three_orders() -> list[Made]:
    """Pruning, recovery and int8 in three orders, measured after each step, and one that fails."""
    pruned = stage(PRUNE, 0.844, 163_800, 89e-6)
    recovered = stage(RECOVER, 0.917, 164_100, 89e-6, took=74.2)
    whole = stage(INT8, 0.9175, 142_300, 78e-6, size=178_100)
    last = {"size": 178_100, "integer": 13, "front": False}
    first = Made(
        "prune80-recover-int8",
        (PRUNE, RECOVER, INT8),
        score=0.9158,
        transferred=64_700,
        seconds=77e-6,
        stages=(
            pruned,
            recovered,
            stage(INT8, 0.9158, 64_700, 77e-6, size=178_100),
        ),
        **{**last, "front": True},  # type: ignore[arg-type]
    )
    second = Made(
        "prune80-int8-recover",
        (PRUNE, INT8, RECOVER),
        score=0.9171,
        transferred=66_900,
        seconds=78e-6,
        stages=(
            pruned,
            stage(INT8, 0.841, 64_700, 77e-6, size=178_100),
            stage(RECOVER, 0.9171, 66_900, 78e-6, size=178_100, took=131.0),
        ),
        **{**last, "front": True},  # type: ignore[arg-type]
    )
    third = Made(
        "int8-prune80-recover",
        (INT8, PRUNE, RECOVER),
        score=0.8902,
        transferred=70_200,
        seconds=79e-6,
        stages=(
            whole,
            stage(PRUNE, 0.802, 68_000, 79e-6, size=178_100),
            stage(RECOVER, 0.8902, 70_200, 79e-6, size=178_100, took=128.0),
        ),
        **last,  # type: ignore[arg-type]
    )
    fails = Made(
        "recover-int8-prune80",
        (RECOVER, INT8, PRUNE),
        failure="magnitude-prune: no tensor of floating-point weights is left. Prune before.",
        stages=(stage(RECOVER, 0.9195, 505_000, 89e-6, took=70.0),),
    )
    return [first, second, third, fails]


def rich() -> Portfolio:
    """Twenty-odd candidates: flavours, orders, structure, sensitivity, a collapse, failures."""
    sensitivity = layers()
    flavour = replace(Made("x"), size=178_100, integer=13)

    def int8(name: str, score: float, transferred: int, micro: float, **options: Any) -> Made:
        made = step("int8-static", **options)
        return replace(
            flavour,
            name=name,
            steps=(made,),
            score=score,
            transferred=transferred,
            seconds=micro * 1e-6,
            front=name == "int8-u8s8-per-channel",
            stages=(stage(made, score, transferred, micro * 1e-6, size=178_100),),
        )

    mixed = step("mixed-precision", budget=0.002)
    halves = {"parameters": 38_106, "macs": 1_010_000}
    structured = (
        stage(CHANNELS, 0.612, 141_000, 41e-6, size=153_000, **halves),  # type: ignore[arg-type]
        stage(RECOVER, 0.9093, 141_200, 41e-6, size=153_000, took=61.4, **halves),  # type: ignore[arg-type]
        stage(INT8, 0.9088, 41_900, 33e-6, size=54_000, **halves),  # type: ignore[arg-type]
    )
    shared = (
        stage(PRUNE, 0.844, 163_800, 89e-6),
        stage(RECOVER, 0.917, 164_100, 89e-6, took=74.2),
        stage(
            SHARE, 0.9148, 38_400, 89e-6, size=92_000, notes=("14 tensors share 32 values each.",)
        ),
    )
    return sample(
        Made("fp32", front=True),
        Made("fp16", (step("fp16"),), transferred=252_900, size=275_000, seconds=94e-6, front=True),
        int8("int8-u8s8-per-channel", 0.9178, 142_300, 78, activation="u8", per_channel=True),
        int8("int8-u8s8-per-tensor", 0.7730, 115_000, 76, activation="u8", per_channel=False),
        int8("int8-u8s8-per-channel-reduce-range", 0.9169, 127_400, 79, reduce_range=True),
        int8("int8-s8s8-per-channel", 0.9173, 142_200, 223, activation="s8", per_channel=True),
        int8("int8-s8s8-per-tensor", 0.7960, 114_900, 235, activation="s8", per_channel=False),
        int8("int8-u8u8-per-channel", 0.9180, 142_500, 122, weight="u8", per_channel=True),
        int8("int8-u8u8-per-tensor", 0.8560, 118_400, 119, weight="u8", per_channel=False),
        Made("int4-weights", (step("int4-weights"),), score=0.9195, transferred=497_000),
        replace(
            flavour,
            name="mixed-precision",
            steps=(mixed,),
            score=0.9189,
            transferred=171_000,
            seconds=81e-6,
            front=True,
            integer=12,
            stages=(stage(mixed, 0.9189, 171_000, 81e-6, size=205_000, sensitivity=sensitivity),),
        ),
        *_three_orders(),
        Made(
            "channels50-recover-int8",
            (CHANNELS, RECOVER, INT8),
            score=0.9088,
            transferred=41_900,
            size=54_000,
            seconds=33e-6,
            integer=13,
            front=True,
            stages=structured,
            parameters=38_106,
            macs=1_010_000,
        ),
        Made(
            "prune80-share5",
            (PRUNE, RECOVER, SHARE),
            score=0.9148,
            transferred=38_400,
            size=92_000,
            front=True,
            stages=shared,
        ),
        Made(
            "student-12x",
            (step("student", width=0.25),),
            score=0.9021,
            transferred=41_000,
            size=47_000,
            seconds=21e-6,
            front=True,
            parameters=11_300,
            macs=302_000,
            stages=(
                stage(
                    step("student", width=0.25),
                    0.9021,
                    41_000,
                    21e-6,
                    size=47_000,
                    took=212.0,
                    parameters=11_300,
                    macs=302_000,
                    notes=("Best of 3 seeds by the loss on held-out training samples.",),
                ),
            ),
        ),
        Made(
            "binary",
            (step("binary-weights"), RECOVER),
            score=0.8871,
            transferred=24_800,
            size=38_100,
            seconds=91e-6,
            front=True,
        ),
        Made(
            "tflite-int8",
            (step("to-tflite"),),
            failure="The converter is not installed. Run `fitment converter install`.",
        ),
    )


def hostile(text: str) -> Portfolio:
    """A portfolio that says `text` wherever free text may stand."""
    evil = RecipeStep(technique="fp16", options={text: text})
    told = stage(
        evil,
        0.9,
        1000,
        1e-4,
        notes=(text,),
        sensitivity=(LayerSensitivity(layer=text, operator=text, noise_ratio=0.1, spared=True),),
    )
    portfolio = sample(
        Made("fp32", worst=text),
        Made("a", (evil, INT8), stages=(told, told), worst=text),
        Made("b", (INT8, evil), stages=(told,), failure=text),
    )
    return portfolio.model_copy(
        update={
            "build_host": text,
            "source": portfolio.source.model_copy(update={"file_name": text}),
            "data": portfolio.data.model_copy(update={"source": text}),
            "metric": MetricSpec(name="top1", options={text: text}),
        }
    )
