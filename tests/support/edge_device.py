"""A device that speaks the contract over real MQTT and proves whatever it is told to run."""

from __future__ import annotations

import threading
from collections.abc import Callable

from fitment_contract.base import utc_now
from fitment_contract.benchmark import BenchmarkMode, EnergyUse, Sustained
from fitment_contract.codec import channel_of, decode, encode
from fitment_contract.device import DeviceFacts
from fitment_contract.messages import (
    ActiveVariant,
    Assignment,
    Bench,
    Birth,
    Command,
    Desired,
    Event,
    Failure,
    ModelState,
    Reported,
    UpMessage,
)
from fitment_contract.phase import FailureReason, Phase
from fitment_contract.topics import DownChannel, UpChannel
from fitment_controller.broker.base import BrokerEndpoint
from support.contract_samples import FACTS, REPORT
from support.edge_mqtt import TOPICS, MqttPeer, wait_for

SUSTAINED = Sustained(throughput_per_second=812.0, retention=0.97, seconds=60.0)
ENERGY = EnergyUse(
    joules_per_inference=0.0123,
    idle_watts=2.2,
    busy_watts=5.1,
    meter="ina3221",
    channel="VDD_IN",
    seconds=10.0,
    count=8000,
    samples=100,
)


class ScriptedDevice:
    """Births, subscribes to its desired state, and answers each with proof or with a failure.

    Args:
        endpoint: the broker.
        id: of the device.
        facts: what it says of itself.
        fails: decides whether an assignment fails here.
        mute: it is there, and never answers what is desired.
        login: user and password at the broker.
    """

    def __init__(
        self,
        endpoint: BrokerEndpoint,
        id: str,
        facts: DeviceFacts = FACTS,
        fails: Callable[[Assignment], bool] = lambda assignment: False,
        mute: bool = False,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.id = id
        self._mute = mute
        self.peer = MqttPeer(endpoint, id, login=login)
        self._facts = facts
        self._fails = fails
        self._states: dict[str, ModelState] = {}
        self._sequence = 0
        self.unsteady: set[str] = set()
        """Models whose benchmarks come out invalid."""
        self._answered = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> ScriptedDevice:
        self.peer.__enter__()
        self._say(
            Birth(
                **self._header(),
                agent_version="0.1.0",
                facts=self._facts,
                generation=0,
            )
        )
        self.peer.subscribe(TOPICS.down(self.id, DownChannel.DESIRED), qos=0)
        self.peer.subscribe(TOPICS.down(self.id, DownChannel.COMMAND), qos=1)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self.peer.close()

    @property
    def active(self) -> dict[str, str]:
        """Model to the variant in use."""
        return {name: state.active.variant for name, state in self._states.items() if state.active}

    def wait_for(self, model: str, variant: str) -> None:
        wait_for(lambda: self.active.get(model) == variant, f"{self.id} running {variant}")

    def _run(self) -> None:
        while not self._stopping.wait(0.01):
            received = list(self.peer.received)[self._answered :]
            self._answered += len(received)
            for topic, payload, _ in received:
                message = decode(TOPICS.parse(topic), payload)
                if isinstance(message, Desired) and not self._mute:
                    self._answer(message)
                elif isinstance(message, Command) and message.model is not None:
                    self._measure(message, message.model)

    def _answer(self, desired: Desired) -> None:
        for assignment in desired.assignments:
            self._states[assignment.model] = self._state(desired.generation, assignment)
        models = tuple(self._states.values())
        self._say(Reported(**self._header(), generation=desired.generation, models=models))

    def _measure(self, command: Command, model: str) -> None:
        """Answer a command to benchmark: a full one says what it sustained and what it took."""
        active = self._states[model].active
        if command.mode is None or active is None:
            detail = "nothing is active"
            self._say(Event(**self._header(), name="benchmark-failed", detail=detail))
            return
        changes: dict[str, object] = {
            "id": f"{self.id}-{command.id}",
            "mode": command.mode,
            "model": model,
            "variant": active.variant,
            "digest": active.digest,
            "fingerprint": self._facts.fingerprint,
        }
        if command.mode is BenchmarkMode.FULL:
            changes |= {"sustained": SUSTAINED, "energy": ENERGY}
        if model in self.unsteady:
            changes |= {"valid": False, "invalid_reason": "the governor changed", "attempts": 3}
        self._say(Bench(**self._header(), report=REPORT.model_copy(update=changes)))

    def _state(self, generation: int, assignment: Assignment) -> ModelState:
        variant = assignment.variant
        before = self._states.get(assignment.model)
        active = before.active if before else None
        common = {
            "model": assignment.model,
            "generation": generation,
            "variant": variant.name,
            "digest": variant.digest,
            "rollout": assignment.rollout,
            "tries": 1,
        }
        if self._fails(assignment):
            failure = Failure(
                phase=Phase.TRIAL, reason=FailureReason.GOLDEN_MISMATCH, detail="logits differ"
            )
            return ModelState(**common, phase=Phase.ROLLED_BACK, failure=failure, active=active)
        report = REPORT.model_copy(
            update={
                "id": f"{self.id}-{generation}",
                "model": assignment.model,
                "variant": variant.name,
                "digest": variant.digest,
                "fingerprint": self._facts.fingerprint,
            }
        )
        return ModelState(
            **common,
            phase=Phase.ACTIVE,
            active=ActiveVariant(
                variant=variant.name,
                model_version=variant.model_version,
                digest=variant.digest,
                generation=generation,
                since=utc_now(),
            ),
            previous=active,
            benchmark=report,
            bytes_transferred=variant.artifact.size_bytes,
        )

    def _header(self) -> dict[str, object]:
        self._sequence += 1
        return {
            "device": self.id,
            "sent_at": utc_now(),
            "session": 1,
            "sequence": self._sequence,
        }

    def _say(self, message: UpMessage) -> None:
        channel = channel_of(message)
        assert isinstance(channel, UpChannel)
        self.peer.publish(TOPICS.up(self.id, channel), encode(message))
