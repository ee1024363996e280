"""A batch of messages to changed rows. One object per batch, used once, inside one transaction.

Order: `(session, sequence)` says which message of a device is newer; an older one is dropped,
because the newer one said all that matters. Wills carry the session they were written in and are
believed only for it. A message from a session whose birth has not arrived is not understood yet:
the device is asked for its birth. Measurements are kept in any order, since their id makes them
unique.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from fitment_contract.benchmark import BenchmarkReport
from fitment_contract.device import EMULATED
from fitment_contract.messages import (
    Bench,
    Birth,
    Death,
    Event,
    EventLevel,
    Reported,
    UpMessage,
    Vitals,
    state_digest,
)
from fitment_controller.decisions.classify import classify, region_of
from fitment_controller.decisions.presence import lease_seconds
from fitment_controller.domain import Device, DeviceVitals, Evidence, LogEntry
from fitment_controller.profiles import Profiles
from fitment_controller.service.ports import FleetObserver, ServiceSettings
from fitment_controller.service.reports import ReportBook
from fitment_controller.store import Rows

_EMULATED_REASON: Final = "its processor is emulated: how long it takes says nothing"


class Intake:
    """Takes in one batch.

    Attributes:
        received: message types, one per message.
        dropped: a reason per dropped message.
        ask: devices to be asked for their birth.
    """

    def __init__(
        self,
        rows: Rows,
        profiles: Profiles,
        settings: ServiceSettings,
        observer: FleetObserver,
        now: datetime,
    ) -> None:
        self.received: list[str] = []
        self.dropped: list[str] = []
        self.ask: set[str] = set()
        self._rows = rows
        self._profiles = profiles
        self._settings = settings
        self._observer = observer
        self._now = now
        self._devices: dict[str, Device] = {}
        self._book = ReportBook({}, observer, now)
        self._changed: set[str] = set()
        self._born: dict[str, Birth] = {}
        self._evidence: dict[str, Evidence] = {}
        self._log: list[LogEntry] = []

    def run(self, messages: Sequence[UpMessage]) -> None:
        """Read what is known of the devices, apply every message, write what changed."""
        ids = sorted({message.device for message in messages})
        self._devices = self._rows.devices.get(ids)
        telling = sorted({item.device for item in messages if isinstance(item, Birth | Reported)})
        self._book = ReportBook(self._rows.reported.get(telling), self._observer, self._now)
        for message in messages:
            self.received.append(type(message).__name__.lower())
            reason = self._apply(message)
            if reason is not None:
                self.dropped.append(reason)
        self._write()

    # --------------------------------------------------------------------------------- order

    def _apply(self, message: UpMessage) -> str | None:
        """Apply one message; the reason when it is dropped."""
        device = self._devices.get(message.device)
        if isinstance(message, Birth):
            return self._birth(message, device)
        if device is None:
            self.ask.add(message.device)
            return "unknown_device"
        if isinstance(message, Death):
            return self._death(message, device)
        if isinstance(message, Bench):
            self._measured(message.report, device)
        if message.session > device.session:
            self.ask.add(message.device)
            return None if isinstance(message, Bench) else "before_birth"
        if (message.session, message.sequence) <= (device.session, device.sequence):
            return None if isinstance(message, Bench) else "out_of_order"
        self._heard(message, device)
        return None

    def _heard(self, message: UpMessage, device: Device) -> None:
        """A message in its turn: renew the lease, then take what it says."""
        interval = device.interval_seconds
        changes: dict[str, object] = {
            "session": message.session,
            "sequence": message.sequence,
            "online": True,
            "last_seen": self._now,
        }
        if isinstance(message, Vitals):
            interval = changes["interval_seconds"] = message.interval_seconds
            changes["vitals"] = _vitals(message, self._now)
            if message.state_digest != device.state_digest:
                self.ask.add(device.id)
        changes["lease_until"] = self._lease_until(interval)
        self._put(device.model_copy(update=changes))
        if isinstance(message, Reported):
            self._reported(device.id, message)
        elif isinstance(message, Event):
            self._note(message.name, message.detail or message.name, message.level, device.id)

    # ------------------------------------------------------------------------------- messages

    def _birth(self, message: Birth, known: Device | None) -> str | None:
        """Facts and full state. A lower session while offline is a device set up anew."""
        if known is not None:
            same_life = message.session >= known.session or known.online
            newer = (message.session, message.sequence) > (known.session, known.sequence)
            if same_life and not newer:
                return "out_of_order"
        device_class = classify(message.facts, self._profiles.classes)
        region = region_of(message.facts, self._profiles, self._settings.default_region)
        device = Device(
            id=message.device,
            facts=message.facts,
            device_class=device_class.name,
            region=region.name,
            fingerprint=message.facts.fingerprint,
            agent_version=message.agent_version,
            session=message.session,
            sequence=message.sequence,
            online=True,
            interval_seconds=message.interval_seconds,
            lease_until=self._lease_until(message.interval_seconds),
            last_seen=self._now,
            registered_at=known.registered_at if known else self._now,
            vitals=known.vitals if known else None,
        )
        self._put(device)
        self._born[device.id] = message
        self._tell_birth(device, known)
        self._reported(device.id, message)
        return None

    def _tell_birth(self, device: Device, known: Device | None) -> None:
        place = f"{device.device_class} in {device.region}"
        if known is None:
            self._note("device-registered", f"{device.id} is {place}", device=device.id)
        elif (known.device_class, known.region) != (device.device_class, device.region):
            self._note("device-reclassified", f"{device.id} is now {place}", device=device.id)
        elif not known.online:
            self._note("device-online", f"{device.id} is back", device=device.id)
        wanted = device.facts.region
        if wanted is not None and wanted != device.region and known is None:
            known_regions = ", ".join(sorted(self._profiles.regions))
            self._note(
                "region-unknown",
                f"{device.id} names region {wanted!r}, which no profile describes; "
                f"known: {known_regions}",
                EventLevel.WARNING,
                device.id,
            )

    def _death(self, message: Death, device: Device) -> str | None:
        if message.session != device.session:
            return "stale_will"
        if device.online:
            self._put(device.model_copy(update={"online": False}))
            self._note("device-offline", message.reason, device=device.id)
        return None

    def _reported(self, id: str, message: Birth | Reported) -> None:
        device = self._devices[id]
        digest = message.state_digest or state_digest(message.generation, message.models)
        changes = {"generation": message.generation, "state_digest": digest}
        self._put(device.model_copy(update=changes))
        self._book.take(device, message.models)
        for state in message.models:
            for report in (state.benchmark, state.low_power_benchmark):
                if report is not None:
                    self._measured(report, device)

    def _measured(self, report: BenchmarkReport, device: Device) -> None:
        """Keep a report. Declared facts make it simulated, whatever the report says of itself.

        What an emulated processor measured is kept to be looked at, and decides nothing.
        """
        changes: dict[str, object] = {"simulated": report.simulated or device.facts.simulated}
        if device.facts.labels.get(EMULATED) == "true":
            changes.update(valid=False, invalid_reason=_EMULATED_REASON)
        self._evidence.setdefault(
            report.id,
            Evidence(
                report=report.model_copy(update=changes),
                device=device.id,
                device_class=device.device_class,
                region=device.region,
                received_at=self._now,
            ),
        )

    # ---------------------------------------------------------------------------------- write

    def _lease_until(self, interval_seconds: float | None) -> datetime:
        lease = lease_seconds(self._settings.lease_seconds, interval_seconds)
        return self._now + timedelta(seconds=lease)

    def _put(self, device: Device) -> None:
        self._devices[device.id] = device
        self._changed.add(device.id)

    def _note(
        self,
        name: str,
        message: str,
        level: EventLevel = EventLevel.INFO,
        device: str | None = None,
    ) -> None:
        self._log.append(
            LogEntry(
                id=0,
                at=self._now,
                level=level,
                name=name,
                actor=device or "controller",
                device=device,
                message=message,
            )
        )

    def _write(self) -> None:
        rows = self._rows
        rows.devices.put([self._devices[id] for id in sorted(self._changed)])
        rows.devices.put_labels([self._devices[id] for id in sorted(self._born)])
        rows.reported.put(self._book.changed())
        rows.reported.remove(self._book.gone())
        self._write_evidence()
        self._reconcile()
        rows.events.add([*self._log, *self._book.log])

    def _write_evidence(self) -> None:
        unknown = self._rows.evidence.unknown(sorted(self._evidence))
        fresh = [self._evidence[id] for id in sorted(unknown)]
        self._rows.evidence.add(fresh)
        for item in fresh:
            self._observer.benchmarked(item)
        digests = sorted({failure.digest for failure in self._book.failures})
        known = {
            (failure.digest, failure.fingerprint): failure
            for failure in self._rows.evidence.failures_of(digests)
        }
        for failure in self._book.failures:
            key = (failure.digest, failure.fingerprint)
            count = known[key].count if key in known else 0
            known[key] = failure.model_copy(update={"count": count + 1})
        self._rows.evidence.put_failures([known[key] for key in sorted(known)])

    def _reconcile(self) -> None:
        """Tell devices that came back with another generation what is desired, again."""
        states = self._rows.desired.get(sorted(self._born))
        again = []
        for id, birth in self._born.items():
            state = states[id]
            if state.generation == 0 or birth.generation == state.generation:
                continue
            # A device ahead of its desired state has outlived an older copy of this database:
            # only a higher generation makes it listen again.
            ahead = birth.generation > state.generation
            generation = birth.generation + 1 if ahead else state.generation
            again.append(state.model_copy(update={"generation": generation, "handed_over": False}))
        self._rows.desired.put(again)


def _vitals(message: Vitals, now: datetime) -> DeviceVitals:
    return DeviceVitals(
        at=now,
        uptime_seconds=message.uptime_seconds,
        charge_ratio=message.charge_ratio,
        charging=message.charging,
        temperature_celsius=message.temperature_celsius,
        throttled=message.throttled,
        memory_available_bytes=message.memory_available_bytes,
        storage_free_bytes=message.storage_free_bytes,
    )
