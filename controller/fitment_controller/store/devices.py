"""Devices, their labels, and the counts that screens and metrics ask for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, delete, func, select, update

from fitment_contract.device import DeviceFacts
from fitment_controller.domain import (
    Device,
    DeviceFilter,
    DeviceVitals,
    FleetCell,
    FleetSummary,
    Page,
    VariantCell,
)
from fitment_controller.store.rows import chunks, moment, seconds, upsert
from fitment_controller.store.tables import device_labels, devices, reported


class DeviceRows:
    """The devices within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, ids: Sequence[str]) -> dict[str, Device]:
        """The known devices among `ids`."""
        found: dict[str, Device] = {}
        for some in chunks(list(ids)):
            rows = self._connection.execute(select(devices).where(devices.c.id.in_(some)))
            found.update((row.id, _device(row)) for row in rows)
        return found

    def presence(self, ids: Sequence[str]) -> dict[str, tuple[bool, int]]:
        """Online or not, and the reported generation, without reading any facts."""
        found: dict[str, tuple[bool, int]] = {}
        columns = (devices.c.id, devices.c.online, devices.c.generation)
        for some in chunks(list(ids)):
            rows = self._connection.execute(select(*columns).where(devices.c.id.in_(some)))
            found.update((row.id, (row.online, row.generation)) for row in rows)
        return found

    def put(self, changed: Sequence[Device]) -> None:
        """Insert or replace."""
        upsert(self._connection, devices, [_row(device) for device in changed])

    def put_labels(self, changed: Sequence[Device]) -> None:
        """Replace the labels of these devices by those in their facts."""
        for some in chunks([device.id for device in changed]):
            self._connection.execute(delete(device_labels).where(device_labels.c.device.in_(some)))
        rows = [
            {"device": device.id, "key": key[:200], "value": value}
            for device in changed
            for key, value in device.facts.labels.items()
        ]
        upsert(self._connection, device_labels, rows)

    def page(self, which: DeviceFilter, limit: int, cursor: str | None) -> Page[Device]:
        """Devices in the order of their ids, after `cursor`."""
        query = _filtered(which).order_by(devices.c.id).limit(limit + 1)
        if cursor is not None:
            query = query.where(devices.c.id > cursor)
        found = [_device(row) for row in self._connection.execute(query)]
        more = len(found) > limit
        return Page[Device](items=tuple(found[:limit]), next=found[limit - 1].id if more else None)

    def all(self, which: DeviceFilter) -> list[Device]:
        """Every device that the filter means, by id."""
        query = _filtered(which).order_by(devices.c.id)
        return [_device(row) for row in self._connection.execute(query)]

    def expire(self, now: datetime) -> dict[str, float]:
        """Take devices whose lease has run out offline; each with the seconds of its lease."""
        lapsed = (devices.c.online.is_(True)) & (devices.c.lease_until < seconds(now))
        columns = (devices.c.id, devices.c.lease_until, devices.c.last_seen)
        rows = self._connection.execute(select(*columns).where(lapsed))
        leases = {row.id: row.lease_until - row.last_seen for row in rows}
        if leases:
            self._connection.execute(update(devices).where(lapsed).values(online=False))
        return leases

    def summary(self) -> FleetSummary:
        """Counts by class, region, presence and running variant."""
        place = (devices.c.region, devices.c.device_class)
        presence = select(*place, devices.c.online, func.count().label("count")).group_by(
            *place, devices.c.online
        )
        active = reported.c.active_variant.label("variant")
        waiting = (reported.c.wait_reason, reported.c.mode)
        running = (*place, reported.c.model, active, reported.c.phase, *waiting)
        variants = (
            select(*running, func.count().label("count"))
            .join_from(devices, reported)
            .group_by(*running)
        )
        return FleetSummary(
            devices=tuple(
                FleetCell.model_validate(dict(row))
                for row in self._connection.execute(presence).mappings()
            ),
            variants=tuple(
                VariantCell.model_validate(dict(row))
                for row in self._connection.execute(variants).mappings()
            ),
        )


def _filtered(which: DeviceFilter) -> Select[Any]:
    query = select(devices)
    if which.ids:
        query = query.where(devices.c.id.in_(which.ids))
    if which.classes:
        query = query.where(devices.c.device_class.in_(which.classes))
    if which.regions:
        query = query.where(devices.c.region.in_(which.regions))
    if which.online is not None:
        query = query.where(devices.c.online.is_(which.online))
    for key, value in which.labels.items():
        labelled = select(device_labels.c.device).where(
            device_labels.c.key == key, device_labels.c.value == value
        )
        query = query.where(devices.c.id.in_(labelled))
    return query


def _row(device: Device) -> dict[str, Any]:
    return {
        "id": device.id,
        "device_class": device.device_class,
        "region": device.region,
        "fingerprint": device.fingerprint,
        "agent_version": device.agent_version,
        "session": device.session,
        "sequence": device.sequence,
        "online": device.online,
        "interval_seconds": device.interval_seconds,
        "lease_until": seconds(device.lease_until),
        "last_seen": seconds(device.last_seen),
        "registered_at": seconds(device.registered_at),
        "generation": device.generation,
        "state_digest": device.state_digest,
        "facts": device.facts.model_dump_json(),
        "vitals": device.vitals.model_dump_json() if device.vitals else None,
    }


def _device(row: Any) -> Device:
    return Device(
        id=row.id,
        device_class=row.device_class,
        region=row.region,
        fingerprint=row.fingerprint,
        agent_version=row.agent_version,
        session=row.session,
        sequence=row.sequence,
        online=row.online,
        interval_seconds=row.interval_seconds,
        lease_until=moment(row.lease_until),
        last_seen=moment(row.last_seen),
        registered_at=moment(row.registered_at),
        generation=row.generation,
        state_digest=row.state_digest,
        facts=DeviceFacts.model_validate_json(row.facts),
        vitals=DeviceVitals.model_validate_json(row.vitals) if row.vitals else None,
    )
