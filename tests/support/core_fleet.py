"""A small model, devices that answer as agents do, and a publisher that remembers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from fitment_contract.artifact import Artifact
from fitment_contract.benchmark import BenchmarkReport, Latency, MetricSpec, Score, SliceScore
from fitment_contract.device import DeviceFacts, Hardware, RuntimeFacts, Storage
from fitment_contract.errors import OversizedMessageError
from fitment_contract.messages import (
    ActiveVariant,
    Assignment,
    Birth,
    Command,
    Death,
    Desired,
    Failure,
    ModelState,
    PowerMode,
    Reported,
    Vitals,
    state_digest,
)
from fitment_contract.phase import FailureReason, Phase
from fitment_contract.portfolio import (
    DataSplit,
    EntryStatus,
    Portfolio,
    PortfolioEntry,
    SourceModel,
)
from fitment_contract.variant import Golden, Needs, Variant

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
MODEL = "activity"
BUILD_HOST = "b" * 16


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def content(name: str, size: int) -> bytes:
    return (name.encode() * size)[:size]


def artifact(name: str, size: int) -> Artifact:
    return Artifact(digest=hashlib.sha256(content(name, size)).hexdigest(), size_bytes=size)


def make_report(
    variant: Variant,
    *,
    fingerprint: str = BUILD_HOST,
    p95: float = 0.001,
    accuracy: float | None = 0.9,
    worst_slice: float = 0.8,
    simulated: bool = False,
    valid: bool = True,
    id: str = "",
    data_digest: str | None = None,
) -> BenchmarkReport:
    scores: tuple[Score, ...] = ()
    if accuracy is not None:
        slices = {"s1": SliceScore(value=worst_slice, count=50)}
        score = Score(
            metric="top1",
            value=accuracy,
            count=450,
            data_digest=data_digest,
            slices=slices,
            worst_slice="s1",
        )
        scores = (score,)
    return BenchmarkReport(
        id=id or f"{variant.name}-{fingerprint}-{p95}-{accuracy}-{valid}",
        model=variant.model,
        variant=variant.name,
        digest=variant.digest,
        fingerprint=fingerprint,
        simulated=simulated,
        runtime="onnxruntime",
        runtime_version="1.32.0",
        started_at=NOW,
        latency=Latency(
            p50_seconds=p95 * 0.8,
            p90_seconds=p95 * 0.9,
            p95_seconds=p95,
            p99_seconds=p95 * 1.1,
            mean_seconds=p95 * 0.8,
            count=200,
            threads=1,
        ),
        load_seconds=0.1,
        first_inference_seconds=0.01,
        peak_memory_bytes=40_000_000,
        scores=scores,
        valid=valid,
        invalid_reason=None if valid else "throttled",
    )


def make_entry(
    name: str,
    *,
    precision: str = "int8",
    traits: tuple[str, ...] = (),
    size: int = 40_000,
    p95: float = 0.001,
    accuracy: float | None = 0.9,
    needs: Mapping[str, Any] | None = None,
    model: str = MODEL,
) -> PortfolioEntry:
    variant = Variant(
        name=name,
        model=model,
        format="onnx",
        precision=precision,
        traits=traits,
        artifact=artifact(name, size),
        compressed_bytes=size // 2,
        golden=Golden(artifact=artifact(f"golden-{name}", 100), tolerance=0.1),
        needs=Needs(
            **{
                "runtime": "onnxruntime",
                "opset": 17,
                "memory_bytes": 40_000_000,
                **dict(needs or {}),
            }
        ),
    )
    return PortfolioEntry(
        name=name,
        status=EntryStatus.LISTED,
        variant=variant,
        benchmark=make_report(variant, p95=p95, accuracy=accuracy),
    )


def default_entries() -> tuple[PortfolioEntry, ...]:
    return (
        make_entry("fp32", precision="fp32", traits=("baseline",), size=100_000, p95=0.002),
        make_entry("fp16", precision="fp16", traits=("fp16",), size=50_000, p95=0.004),
        make_entry("int8-u8s8-pc", traits=("u8s8", "per-channel"), p95=0.0010, accuracy=0.895),
        make_entry("int8-s8s8-pc", traits=("s8s8", "per-channel"), p95=0.0016, accuracy=0.893),
        make_entry("int8-broken", traits=("u8u8", "per-tensor"), p95=0.0004, accuracy=0.04),
    )


def make_portfolio(
    entries: tuple[PortfolioEntry, ...] | None = None, model: str = MODEL
) -> Portfolio:
    return Portfolio(
        model=model,
        created_at=NOW,
        source=SourceModel(
            file_name="m.onnx",
            digest=digest_of("source"),
            size_bytes=100_000,
            opset=17,
            inputs=(),
            outputs=(),
            parameters=24_000,
        ),
        data=DataSplit(
            calibration_count=100, evaluation_count=450, evaluation_share_labelled=1, source="npz"
        ),
        metric=MetricSpec(name="top1"),
        evaluation=artifact("evaluation", 1000),
        baseline="fp32",
        build_host="test host",
        entries=default_entries() if entries is None else entries,
    )


def make_facts(
    kind: str = "pi-5", *, region: str | None = "eu-west", simulated: bool = False, **changes: Any
) -> DeviceFacts:
    hardware = {
        "pi-5": Hardware(
            board="Raspberry Pi 5 Model B Rev 1.0",
            soc="bcm2712",
            architecture="aarch64",
            isa=("asimd", "asimddp"),
            cores=4,
            memory_bytes=8 * 2**30,
        ),
        "x86-vnni": Hardware(
            soc="some CPU", architecture="x86_64", isa=("avx2", "avx512_vnni"), cores=4
        ),
        "x86-avx2": Hardware(soc="old CPU", architecture="x86_64", isa=("avx2",), cores=2),
    }[kind]
    runtime = RuntimeFacts(
        name="onnxruntime",
        version="1.32.0",
        formats=("onnx",),
        opset_max=23,
        providers=("CPUExecutionProvider",),
    )
    facts = DeviceFacts(
        simulated=simulated,
        hardware=hardware,
        runtimes=(runtime,),
        storage=Storage(free_bytes=10**9),
        region=region,
    )
    return facts.model_copy(update=changes)


class RecordingPublisher:
    """Keeps what was published; refuses while `connected` is false."""

    def __init__(self) -> None:
        self.connected = True
        self.too_large_for: str | None = None
        self.desired: list[Desired] = []
        self.commands: list[Command] = []

    def publish(self, message: Desired | Command) -> bool:
        if not self.connected:
            return False
        if message.device == self.too_large_for:
            raise OversizedMessageError("as large as nobody sends")
        if isinstance(message, Desired):
            self.desired.append(message)
        else:
            self.commands.append(message)
        return True

    def newest(self, device: str) -> Desired | None:
        return next((m for m in reversed(self.desired) if m.device == device), None)


class FakeDevice:
    """Says what an agent would say: answers a desired state with a proof or a failure."""

    def __init__(self, id: str, facts: DeviceFacts | None = None, clock: Clock | None = None):
        self.id = id
        self.facts = facts or make_facts()
        self.session = 1
        self.sequence = 0
        self.generation = 0
        self.models: dict[str, ModelState] = {}
        self.interval_seconds: float | None = None
        self._clock = clock or Clock()

    def envelope(self) -> dict[str, Any]:
        self.sequence += 1
        return {
            "device": self.id,
            "sent_at": self._clock(),
            "session": self.session,
            "sequence": self.sequence,
        }

    def birth(self) -> Birth:
        return Birth(
            **self.envelope(),
            agent_version="0.1.0",
            facts=self.facts,
            generation=self.generation,
            models=tuple(self.models.values()),
            interval_seconds=self.interval_seconds,
        )

    def death(self, session: int | None = None) -> Death:
        fields = self.envelope()
        return Death(**{**fields, "session": self.session if session is None else session})

    def vitals(self) -> Vitals:
        digest = state_digest(self.generation, tuple(self.models.values()))
        return Vitals(
            **self.envelope(),
            state_digest=digest,
            uptime_seconds=1.0,
            interval_seconds=self.interval_seconds,
        )

    def reported(self) -> Reported:
        return Reported(
            **self.envelope(), generation=self.generation, models=tuple(self.models.values())
        )

    def take(self, desired: Desired, phase: Phase = Phase.OFFERED) -> None:
        """Take note of a desired state without proving anything yet."""
        self.generation = desired.generation
        for name in desired.withdrawn:
            before = self.models.pop(name, None)
            if before is not None:
                self.models[name] = before.model_copy(
                    update={"phase": Phase.ROLLED_BACK, "active": before.previous}
                )
        for assignment in desired.assignments:
            before = self.models.get(assignment.model)
            self.models[assignment.model] = self._state(assignment, desired, before, phase)

    def prove(self, desired: Desired, **measured: Any) -> Reported:
        """Fetch, measure and activate everything that is desired."""
        self.take(desired)
        for assignment in desired.assignments:
            state = self.models[assignment.model]
            second = assignment.low_power.variant if assignment.low_power else None
            self.models[assignment.model] = state.model_copy(
                update={
                    "phase": Phase.ACTIVE,
                    "active": self._active(assignment.variant, desired),
                    "mode": PowerMode.NORMAL if second else None,
                    "low_power": self._active(second, desired) if second else None,
                    "previous": state.active,
                    "benchmark": self._report(assignment.variant, assignment, desired, measured),
                    "low_power_benchmark": self._report(second, assignment, desired, measured)
                    if second
                    else None,
                    "bytes_transferred": assignment.variant.artifact.size_bytes,
                }
            )
        return self.reported()

    def switch(self, model: str, mode: PowerMode) -> Reported:
        """Point applications at the other variant of a pair."""
        self.models[model] = self.models[model].model_copy(update={"mode": mode})
        return self.reported()

    def fail(
        self,
        desired: Desired,
        reason: FailureReason = FailureReason.CRASHED,
        digest: str | None = None,
    ) -> Reported:
        """Roll back from everything that is desired; `digest` is of the second variant."""
        self.take(desired)
        failure = Failure(
            phase=Phase.TRIAL, reason=reason, detail="killed by SIGSEGV", digest=digest
        )
        for name, state in self.models.items():
            self.models[name] = state.model_copy(
                update={"phase": Phase.ROLLED_BACK, "failure": failure}
            )
        return self.reported()

    def _active(self, variant: Variant, desired: Desired) -> ActiveVariant:
        return ActiveVariant(
            variant=variant.name,
            model_version=variant.model_version,
            digest=variant.digest,
            generation=desired.generation,
            since=self._clock(),
        )

    def _report(
        self, variant: Variant, assignment: Assignment, desired: Desired, measured: dict[str, Any]
    ) -> BenchmarkReport:
        evaluation = assignment.evaluation
        return make_report(
            variant,
            fingerprint=self.facts.fingerprint,
            simulated=self.facts.simulated,
            id=f"{self.id}-{variant.name}-{desired.generation}",
            data_digest=evaluation.artifact.digest if evaluation else None,
            **measured,
        )

    def _state(
        self, assignment: Assignment, desired: Desired, before: ModelState | None, phase: Phase
    ) -> ModelState:
        return ModelState(
            model=assignment.model,
            generation=desired.generation,
            phase=phase,
            variant=assignment.variant.name,
            digest=assignment.variant.digest,
            rollout=assignment.rollout,
            active=before.active if before else None,
            previous=before.previous if before else None,
        )
