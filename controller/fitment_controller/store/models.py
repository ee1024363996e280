"""Model versions, benchmark evidence and known failures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from fitment_contract.benchmark import BenchmarkReport
from fitment_contract.portfolio import Portfolio
from fitment_controller.domain import Evidence, KnownFailure, ModelVersion
from fitment_controller.store.rows import chunks, insert_new, moment, seconds, upsert
from fitment_controller.store.tables import evidence, failures, model_versions


class ModelRows:
    """Portfolios within one transaction. A version is never changed once it is there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, version: ModelVersion) -> None:
        """Insert one version."""
        self._connection.execute(
            model_versions.insert().values(
                model=version.model,
                version=version.version,
                pushed_at=seconds(version.pushed_at),
                actor=version.actor,
                portfolio=version.portfolio.model_dump_json(),
            )
        )

    def get(self, model: str, version: int | None) -> ModelVersion | None:
        """One version; None means the newest."""
        query = select(model_versions).where(model_versions.c.model == model)
        if version is not None:
            query = query.where(model_versions.c.version == version)
        row = self._connection.execute(
            query.order_by(model_versions.c.version.desc()).limit(1)
        ).first()
        return None if row is None else _version(row)

    def newest_version(self, model: str) -> int:
        """The highest version number of `model`; 0 when there is none."""
        query = select(func.max(model_versions.c.version)).where(model_versions.c.model == model)
        return self._connection.scalar(query) or 0

    def all(self) -> list[ModelVersion]:
        """By name, newest version first."""
        query = select(model_versions).order_by(
            model_versions.c.model, model_versions.c.version.desc()
        )
        return [_version(row) for row in self._connection.execute(query)]


class EvidenceRows:
    """Benchmark reports and failures within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def unknown(self, ids: Sequence[str]) -> set[str]:
        """Those of these report ids that are not stored yet."""
        unknown = set(ids)
        for some in chunks(list(ids)):
            query = select(evidence.c.id).where(evidence.c.id.in_(some))
            unknown -= set(self._connection.scalars(query))
        return unknown

    def add(self, items: Sequence[Evidence]) -> None:
        """Insert; a report id that is there already stays as it is."""
        insert_new(self._connection, evidence, [_row(item) for item in items])

    def of_digests(self, digests: Sequence[str]) -> list[Evidence]:
        """Everything measured on these files."""
        found: list[Evidence] = []
        for some in chunks(list(digests)):
            query = select(evidence).where(evidence.c.digest.in_(some))
            found += [_evidence(row) for row in self._connection.execute(query)]
        return found

    def of_devices(self, devices: Sequence[str]) -> list[Evidence]:
        """Everything that these devices measured, oldest first."""
        found: list[Evidence] = []
        for some in chunks(list(devices)):
            query = select(evidence).where(evidence.c.device.in_(some))
            query = query.order_by(evidence.c.received_at, evidence.c.id)
            found += [_evidence(row) for row in self._connection.execute(query)]
        return found

    def recent(
        self, model: str | None, variant: str | None, device: str | None, limit: int
    ) -> list[Evidence]:
        """Newest first."""
        query = select(evidence)
        if model is not None:
            query = query.where(evidence.c.model == model)
        if variant is not None:
            query = query.where(evidence.c.variant == variant)
        if device is not None:
            query = query.where(evidence.c.device == device)
        query = query.order_by(evidence.c.received_at.desc(), evidence.c.id).limit(limit)
        return [_evidence(row) for row in self._connection.execute(query)]

    def failures_of(self, digests: Sequence[str]) -> list[KnownFailure]:
        """Every known failure of these files."""
        found: list[KnownFailure] = []
        for some in chunks(list(digests)):
            query = select(failures).where(failures.c.digest.in_(some))
            rows = self._connection.execute(query).mappings()
            found += [KnownFailure.model_validate(dict(row)) for row in rows]
        return found

    def put_failures(self, items: Sequence[KnownFailure]) -> None:
        """Insert or replace."""
        rows = [{**item.model_dump(), "reason": item.reason.value} for item in items]
        upsert(self._connection, failures, rows)


def _version(row: Any) -> ModelVersion:
    return ModelVersion(
        model=row.model,
        version=row.version,
        portfolio=Portfolio.model_validate_json(row.portfolio),
        pushed_at=moment(row.pushed_at),
        actor=row.actor,
    )


def _row(item: Evidence) -> dict[str, Any]:
    return {
        "id": item.report.id,
        "model": item.report.model,
        "variant": item.report.variant,
        "digest": item.report.digest,
        "fingerprint": item.report.fingerprint,
        "device": item.device,
        "device_class": item.device_class,
        "region": item.region,
        "received_at": seconds(item.received_at),
        "report": item.report.model_dump_json(),
    }


def _evidence(row: Any) -> Evidence:
    return Evidence(
        report=BenchmarkReport.model_validate_json(row.report),
        device=row.device,
        device_class=row.device_class,
        region=row.region,
        received_at=moment(row.received_at),
    )
