"""One full sample of every message, built from one full sample of every record."""

from __future__ import annotations

from datetime import datetime, timezone

from fitment_contract.artifact import Artifact
from fitment_contract.benchmark import (
    FULL,
    BenchmarkMode,
    BenchmarkProtocol,
    BenchmarkReport,
    Conditions,
    EnergyUse,
    KernelCounts,
    Latency,
    MetricSpec,
    Score,
    SessionTuning,
    SliceScore,
    Sustained,
)
from fitment_contract.device import (
    CoreCluster,
    DeviceFacts,
    Hardware,
    Link,
    LinkKind,
    OperatingSystem,
    Power,
    PowerSource,
    RuntimeFacts,
    Storage,
    Thermal,
    ThrottleReason,
)
from fitment_contract.messages import (
    ActiveVariant,
    Assignment,
    Bench,
    Birth,
    Command,
    CommandName,
    Death,
    DeployConditions,
    Desired,
    Evaluation,
    Event,
    EventLevel,
    Failure,
    LowPower,
    Message,
    ModelState,
    PowerMode,
    Reported,
    Vitals,
    Waiting,
    WaitReason,
    Weekday,
    Window,
)
from fitment_contract.phase import FailureReason, Phase
from fitment_contract.variant import Golden, Needs, RecipeStep, TensorSpec, Variant

MOMENT = datetime(2026, 11, 23, 12, 0, tzinfo=timezone.utc)
DIGEST = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
OTHER_DIGEST = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"

FACTS = DeviceFacts(
    simulated=True,
    hardware=Hardware(
        board="Raspberry Pi 5 Model B Rev 1.0",
        soc="bcm2712",
        architecture="aarch64",
        isa=("aes", "asimd", "asimddp"),
        cores=4,
        memory_bytes=8 * 2**30,
    ),
    os=OperatingSystem(name="Debian GNU/Linux", version="12", libc="glibc 2.36", python="3.11.2"),
    runtimes=(
        RuntimeFacts(
            name="onnxruntime",
            version="1.32.0",
            formats=("onnx",),
            opset_max=23,
            providers=("CPUExecutionProvider",),
        ),
    ),
    storage=Storage(free_bytes=10 * 2**30, total_bytes=32 * 2**30),
    power=Power(source=PowerSource.BATTERY, charge_ratio=0.8, charging=False),
    link=Link(kind=LinkKind.WIFI, metered=False, downlink_bytes_per_second=2e6),
    thermal=Thermal(temperature_celsius=48.5, throttled=False),
    region="eu-west",
    labels={"site": "greenhouse"},
    unknown={"thermal.fan": "no fan sensor"},
)

VARIANT = Variant(
    name="int8-u8s8-per-channel",
    model="activity",
    model_version=3,
    format="onnx",
    precision="int8",
    traits=("u8s8", "per-channel"),
    recipe=(RecipeStep(technique="int8-static", options={"per_channel": True}),),
    inputs=(TensorSpec(name="window", dtype="float32", shape=(None, 6, 100)),),
    outputs=(TensorSpec(name="logits", dtype="float32", shape=(None, 7)),),
    artifact=Artifact(digest=DIGEST, size_bytes=58_000).located(
        "http://127.0.0.1:1/v1/artifacts/x"
    ),
    compressed_bytes=41_000,
    golden=Golden(artifact=Artifact(digest=OTHER_DIGEST, size_bytes=900), tolerance=0.5),
    needs=Needs(runtime="onnxruntime", opset=17, memory_bytes=4_000_000),
)

REPORT = BenchmarkReport(
    id="0d5c3a0e",
    model="activity",
    variant="int8-u8s8-per-channel",
    digest=DIGEST,
    fingerprint=FACTS.fingerprint,
    simulated=True,
    runtime="onnxruntime",
    runtime_version="1.32.0",
    started_at=MOMENT,
    latency=Latency(
        p50_seconds=0.001,
        p90_seconds=0.0012,
        p95_seconds=0.0013,
        p99_seconds=0.002,
        mean_seconds=0.00105,
        count=2000,
        threads=1,
    ),
    load_seconds=0.05,
    first_inference_seconds=0.003,
    peak_memory_bytes=9_000_000,
    scores=(
        Score(
            metric="top1",
            value=0.868,
            standard_error=0.008,
            count=1800,
            slices={"subject-7": SliceScore(value=0.93, count=450, standard_error=0.012)},
            worst_slice="subject-7",
        ),
    ),
    kernels=KernelCounts(operators={"QLinearConv": 9}, convolutions=9, integer_convolutions=9),
    conditions=Conditions(architecture="aarch64", isa=("asimddp",), threads=1),
)

# What the first golden files hold.
_EARLY_REPORT = REPORT.model_copy(update={"protocol": "fitment-bench/1"})

_ACTIVE = ActiveVariant(
    variant="fp32", model_version=2, digest=OTHER_DIGEST, generation=4, since=MOMENT
)

STATES = (
    ModelState(
        model="activity",
        generation=7,
        phase=Phase.ROLLED_BACK,
        variant="int8-u8s8-per-channel",
        digest=DIGEST,
        rollout="r-1",
        failure=Failure(
            phase=Phase.TRIAL, reason=FailureReason.GOLDEN_MISMATCH, detail="logits differ by 0.9"
        ),
        active=_ACTIVE,
        previous=None,
        benchmark=_EARLY_REPORT,
        bytes_transferred=58_900,
        tries=1,
    ),
    ModelState(
        model="keyword",
        generation=7,
        phase=Phase.WAITING,
        waiting=Waiting(reason=WaitReason.BATTERY, detail="12 % left, 30 % asked", until=MOMENT),
    ),
)

# As a device computes it: over every field that it knows, so a newer one computes another.
STATE_DIGEST = "d7ed0106bb5fd026d06cb40fe2613a0896cb841830f93155f4a605e6b2a8640b"

_UP = {"device": "pi-5", "sent_at": MOMENT, "session": 12}

MESSAGES: dict[str, Message] = {
    "birth": Birth(
        **_UP, sequence=0, agent_version="0.1.0", facts=FACTS, generation=7, models=STATES
    ),
    "death": Death(**_UP, sequence=0),
    "vitals": Vitals(
        **_UP,
        sequence=3,
        state_digest=STATE_DIGEST,
        uptime_seconds=86_400,
        charge_ratio=0.8,
        charging=False,
        temperature_celsius=48,
        throttled=False,
        memory_available_bytes=2**31,
        storage_free_bytes=2**33,
    ),
    "reported": Reported(**_UP, sequence=4, generation=7, models=STATES, state_digest=STATE_DIGEST),
    "bench": Bench(**_UP, sequence=5, report=_EARLY_REPORT),
    "event": Event(
        **_UP, sequence=6, level=EventLevel.WARNING, name="message-refused", detail="oversized"
    ),
    "desired": Desired(
        device="pi-5",
        sent_at=MOMENT,
        generation=8,
        assignments=(
            Assignment(
                model="activity",
                variant=VARIANT,
                evaluation=Evaluation(
                    artifact=Artifact(digest=OTHER_DIGEST, size_bytes=900_000),
                    metric=MetricSpec(name="top1"),
                ),
                conditions=DeployConditions(min_charge_ratio=0.3, max_defer_seconds=3600),
                protocol=BenchmarkProtocol(
                    version="fitment-bench/1", min_seconds=1.0, wall_limit_seconds=120.0
                ),
                rollout="r-1",
                deadline=MOMENT,
            ),
        ),
    ),
    "cmd": Command(
        device="pi-5",
        sent_at=MOMENT,
        id="c-1",
        name=CommandName.BENCHMARK,
        model="activity",
        expires_at=MOMENT,
    ),
}

# What later releases added to version 1.

_REAL_FACTS = FACTS.model_copy(
    update={
        "simulated": False,
        "hardware": FACTS.hardware.model_copy(
            update={
                "clusters": (
                    CoreCluster(cores=(2, 3), capacity=1024, max_frequency_hertz=2_400_000_000),
                    CoreCluster(cores=(0, 1), capacity=446, max_frequency_hertz=1_800_000_000),
                )
            }
        ),
        "power": FACTS.power.model_copy(update={"mode": "15W", "energy_meter": "ina3221"}),
        "link": FACTS.link.model_copy(
            update={
                "interface": "wlan0",
                "downlink_samples": 4,
                "downlink_sample_bytes": 3_400_000,
            }
        ),
        "thermal": Thermal(
            temperature_celsius=48.5,
            zones={"cpu-thermal": 48.5, "gpu-thermal": 41.0},
            throttled=True,
            throttle_reasons=(ThrottleReason.UNDER_VOLTAGE,),
            throttled_since_boot=(ThrottleReason.UNDER_VOLTAGE, ThrottleReason.THROTTLED),
        ),
    }
)

_FULL_REPORT = REPORT.model_copy(
    update={
        "mode": BenchmarkMode.FULL,
        "simulated": False,
        "latency": REPORT.latency.model_copy(
            update={
                "p50_interval_seconds": (0.00098, 0.00102),
                "p95_interval_seconds": (0.00125, 0.00136),
            }
        ),
        "sustained": Sustained(throughput_per_second=940.0, retention=0.91, seconds=61.0),
        "energy": EnergyUse(
            joules_per_inference=0.0031,
            idle_watts=2.4,
            busy_watts=5.5,
            meter="ina3221",
            channel="VDD_IN",
            seconds=61.0,
            count=57_000,
            samples=120,
        ),
        "conditions": Conditions(
            architecture="aarch64", isa=("asimddp",), threads=1, affinity=(2, 3), cpu_share=0.998
        ),
        "attempts": 2,
    }
)

_TUNING = SessionTuning(
    digest=DIGEST,
    fingerprint=FACTS.fingerprint,
    threads=2,
    affinity=(2, 3),
    providers=("CPUExecutionProvider",),
    arena=False,
    p50_seconds=0.0007,
    reference_p50_seconds=0.001,
    candidates=9,
    measured_at=MOMENT,
)

_LATER_STATES = (
    ModelState(
        model="activity",
        generation=9,
        phase=Phase.ACTIVE,
        variant="int8-u8s8-per-channel",
        digest=DIGEST,
        active=ActiveVariant(
            variant="int8-u8s8-per-channel",
            model_version=3,
            digest=DIGEST,
            generation=9,
            since=MOMENT,
        ),
        mode=PowerMode.LOW_POWER,
        low_power=_ACTIVE,
        benchmark=_FULL_REPORT,
        low_power_benchmark=_FULL_REPORT.model_copy(update={"digest": OTHER_DIGEST}),
        tuning=_TUNING,
    ),
    ModelState(
        model="keyword",
        generation=9,
        phase=Phase.WAITING,
        waiting=Waiting(reason=WaitReason.FOREGROUND, detail="an application is in use"),
    ),
)

LATER_MESSAGES: dict[str, Message] = {
    "birth.2": Birth(
        **_UP,
        sequence=1,
        agent_version="0.1.0",
        facts=_REAL_FACTS,
        generation=9,
        models=_LATER_STATES,
        interval_seconds=600,
    ),
    "vitals.2": Vitals(
        **_UP, sequence=2, state_digest=STATE_DIGEST, uptime_seconds=120, interval_seconds=900
    ),
    "reported.2": Reported(
        **_UP,
        sequence=3,
        generation=9,
        models=(
            ModelState(
                model="activity",
                generation=9,
                phase=Phase.ROLLED_BACK,
                variant=VARIANT.name,
                digest=DIGEST,
                failure=Failure(
                    phase=Phase.TRIAL,
                    reason=FailureReason.LOAD_FAILED,
                    detail="student: no kernel for DynamicQuantizeLinear",
                    digest=OTHER_DIGEST,
                ),
            ),
        ),
    ),
    "desired.2": Desired(
        device="pi-5",
        sent_at=MOMENT,
        generation=9,
        assignments=(
            Assignment(
                model="activity",
                variant=VARIANT,
                conditions=DeployConditions(
                    max_bytes_per_day=5_000_000,
                    windows=(Window(start="22:00", end="05:30", days=(Weekday.MONDAY,)),),
                    quiet_in_foreground=True,
                    max_defer={WaitReason.WINDOW: 172_800.0},
                ),
                protocol=FULL,
                low_power=LowPower(
                    variant=VARIANT.model_copy(update={"name": "student"}),
                    below_charge_ratio=0.3,
                    above_temperature_celsius=70.0,
                ),
            ),
        ),
    ),
    "cmd.2": Command(
        device="pi-5",
        sent_at=MOMENT,
        id="c-2",
        name=CommandName.BENCHMARK,
        model="activity",
        mode=BenchmarkMode.FULL,
    ),
}
