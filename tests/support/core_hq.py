"""The service over a real SQLite file that can be killed, and plans over devices made up here."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from fitment_contract.device import DeviceFacts
from fitment_contract.messages import Desired
from fitment_contract.portfolio import Portfolio
from fitment_controller.blobs import BlobStore
from fitment_controller.decisions.chooser import PlanInput
from fitment_controller.decisions.classify import classify, region_of
from fitment_controller.decisions.evidence import EvidenceIndex
from fitment_controller.domain import (
    Device,
    DeviceFilter,
    RolloutPolicy,
    RolloutRequest,
    VariantRef,
)
from fitment_controller.profiles import load_profiles
from fitment_controller.service import FleetService, ServiceSettings
from fitment_controller.store import Store
from support.core_fleet import (
    MODEL,
    NOW,
    Clock,
    FakeDevice,
    RecordingPublisher,
    content,
    make_facts,
    make_portfolio,
)

PROFILES = load_profiles()


def make_device(id: str, facts: DeviceFacts) -> Device:
    return Device(
        id=id,
        facts=facts,
        device_class=classify(facts, PROFILES.classes).name,
        region=region_of(facts, PROFILES, None).name,
        fingerprint=facts.fingerprint,
        agent_version="0.1.0",
        session=1,
        sequence=1,
        online=True,
        lease_until=NOW,
        last_seen=NOW,
        registered_at=NOW,
    )


def given(
    devices: list[Device],
    *,
    request: RolloutRequest | None = None,
    current: dict[str, VariantRef] | None = None,
    busy: dict[str, str] | None = None,
) -> PlanInput:
    return PlanInput(
        request=request or RolloutRequest(model="activity", devices=DeviceFilter()),
        portfolio=make_portfolio(),
        objective=PROFILES.objective("balanced"),
        profiles=PROFILES,
        evidence=EvidenceIndex(),
        devices=devices,
        current=current or {},
        busy=busy or {},
    )


PICK = "int8-s8s8-pc"
"""What the Raspberry Pi 5's profile expects to be fastest, before anything is measured."""


class Headquarters:
    """A service that can be killed and started again over the same files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.clock = Clock()
        self.publisher = RecordingPublisher()
        self.profiles = load_profiles()
        self.start()

    def start(self) -> None:
        self.store = Store(f"sqlite:///{self._directory / 'controller.db'}")
        self.blobs = BlobStore(self._directory / "blobs")
        self.service = FleetService(
            self.store,
            self.blobs,
            self.profiles,
            self.publisher,
            self.clock,
            ServiceSettings(artifacts_url="http://hq/v1/artifacts"),
        )

    def restart(self) -> None:
        self.store.close()
        self.start()

    def push(self, portfolio: Portfolio | None = None) -> None:
        portfolio = portfolio or make_portfolio()
        for entry in portfolio.listed():
            assert entry.variant is not None
            assert entry.variant.golden is not None
            self.put(entry.name, entry.variant.artifact.size_bytes)
            self.put(f"golden-{entry.name}", entry.variant.golden.artifact.size_bytes)
        self.put("evaluation", 1000)
        self.service.push_model(portfolio, "ann")

    def put(self, name: str, size: int) -> None:
        data = content(name, size)
        self.blobs.put(io.BytesIO(data), hashlib.sha256(data).hexdigest(), size)

    def device(self, id: str, **facts: object) -> FakeDevice:
        device = FakeDevice(id, make_facts(**facts), self.clock)  # type: ignore[arg-type] # a test's shorthand
        self.service.receive([device.birth()])
        return device

    def begin(self, **policy: object) -> str:
        request = RolloutRequest(model=MODEL, policy=RolloutPolicy.model_validate(policy))
        id = self.service.start_rollout(request, "ann").id
        self.service.tick()
        return id

    def told(self, device: FakeDevice) -> Desired:
        message = self.publisher.newest(device.id)
        assert message is not None
        return message

    def settle(self, devices: list[FakeDevice], ticks: int = 12, **measured: object) -> None:
        """Every device proves whatever it is told, until nobody is told anything new."""
        for _ in range(ticks):
            for device in devices:
                message = self.publisher.newest(device.id)
                if message is not None and message.generation != device.generation:
                    self.service.receive([device.prove(message, **measured)])
            self.service.tick()
