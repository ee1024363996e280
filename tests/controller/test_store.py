"""The store: round trips, a schema that its migrations make, and a process killed in the middle."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from fitment_contract.messages import EventLevel
from fitment_contract.phase import FailureReason
from fitment_controller.domain import (
    Assigned,
    DesiredState,
    Device,
    DeviceFilter,
    KnownFailure,
    LogEntry,
    ModelVersion,
    VariantRef,
)
from fitment_controller.errors import StoreError
from fitment_controller.store import Store
from fitment_controller.store.tables import metadata
from support.core_fleet import MODEL, NOW, digest_of, make_facts, make_portfolio


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"sqlite:///{tmp_path / 'controller.db'}")


def make_device(id: str, **changes: object) -> Device:
    facts = make_facts()
    device = Device(
        id=id,
        facts=facts,
        device_class="pi-5",
        region="eu-west",
        fingerprint=facts.fingerprint,
        agent_version="0.1.0",
        session=1,
        sequence=1,
        online=True,
        lease_until=NOW,
        last_seen=NOW,
        registered_at=NOW,
    )
    return device.model_copy(update=changes)


def test_migrations_make_the_schema_that_the_code_uses(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'controller.db'}"
    Store(url).close()
    with create_engine(url).connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []


def test_a_database_of_the_first_schema_keeps_its_devices(tmp_path: Path) -> None:
    path = tmp_path / "controller.db"
    store = Store(f"sqlite:///{path}")
    with store.begin() as rows:
        rows.devices.put([make_device("pi")])
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE devices DROP COLUMN interval_seconds")
        connection.execute("ALTER TABLE reported DROP COLUMN wait_reason")
        connection.execute("ALTER TABLE reported DROP COLUMN mode")
        connection.execute("DROP INDEX ix_evidence_device")
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    store = Store(f"sqlite:///{path}")
    with store.begin() as rows:
        assert rows.devices.get(["pi"]) == {"pi": make_device("pi")}
        rows.devices.put([make_device("pi", interval_seconds=900.0)])
        assert rows.devices.get(["pi"])["pi"].interval_seconds == 900.0


def test_sqlite_is_durable_and_keeps_references(tmp_path: Path, store: Store) -> None:
    connection = store._engine.raw_connection()
    pragmas = [
        connection.cursor().execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys")
    ]
    assert pragmas == ["wal", 2, 1]


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "controller.db"
    Store(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="newer"):
        Store(f"sqlite:///{path}")


def test_a_path_that_cannot_be_opened_is_an_error_with_a_next_step(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Check its path"):
        Store(f"sqlite:///{tmp_path / 'missing' / 'controller.db'}")


def test_records_survive_reopening(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'controller.db'}"
    device = make_device("pi")
    version = ModelVersion(
        model=MODEL, version=1, portfolio=make_portfolio(), pushed_at=NOW, actor="ann"
    )
    desired = DesiredState(
        device="pi",
        generation=3,
        assigned=(
            Assigned(
                model=MODEL,
                ref=VariantRef(model_version=1, variant="fp32", digest=digest_of("x")),
                generation=3,
                assigned_at=NOW,
            ),
        ),
        withdrawn=("other",),
        handed_over=False,
    )
    store = Store(url)
    with store.begin() as rows:
        rows.devices.put([device])
        rows.models.add(version)
        rows.desired.put([desired])
    store.close()
    with Store(url).begin() as rows:
        assert rows.devices.get(["pi", "nobody"]) == {"pi": device}
        assert rows.models.get(MODEL, None) == version
        assert rows.desired.get(["pi"])["pi"] == desired
        assert rows.desired.not_handed_over(10) == [desired]


def test_a_transaction_that_raises_leaves_nothing(store: Store) -> None:
    def write_and_raise() -> None:
        with store.begin() as rows:
            rows.devices.put([make_device("pi")])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_raise()
    with store.begin() as rows:
        assert rows.devices.all(DeviceFilter()) == []


def test_more_devices_than_one_statement_takes(store: Store) -> None:
    devices = [make_device(f"d{n:04}") for n in range(1203)]
    with store.begin() as rows:
        rows.devices.put(devices)
        assert len(rows.devices.get([device.id for device in devices])) == 1203
        assert list(rows.devices.expire(NOW + timedelta(seconds=1))) == [d.id for d in devices]
        assert rows.devices.all(DeviceFilter(online=True)) == []


def test_a_hand_over_of_an_older_generation_is_not_noted(store: Store) -> None:
    with store.begin() as rows:
        rows.devices.put([make_device("pi")])
        rows.desired.put([DesiredState(device="pi", generation=2, handed_over=False)])
        rows.desired.set_handed_over([("pi", 1)])
        assert len(rows.desired.not_handed_over(10)) == 1
        rows.desired.set_handed_over([("pi", 2)])
        assert rows.desired.not_handed_over(10) == []


def test_the_log_is_followed_by_its_ids(store: Store) -> None:
    def entry(name: str) -> LogEntry:
        return LogEntry(id=0, at=NOW, level=EventLevel.INFO, name=name, actor="ann", message=name)

    with store.begin() as rows:
        rows.events.add([entry("one"), entry("two"), entry("three")])
        first = rows.events.after(0, 2)
        rest = rows.events.after(first[-1].id, 10)
        assert [line.name for line in (*first, *rest)] == ["one", "two", "three"]
        assert [line.name for line in rows.events.recent(2, None, None)] == ["two", "three"]


def test_failures_are_kept_per_file_and_fingerprint(store: Store) -> None:
    failure = KnownFailure(
        digest=digest_of("x"),
        fingerprint="a" * 16,
        reason=FailureReason.CRASHED,
        detail="SIGSEGV",
        count=1,
    )
    with store.begin() as rows:
        rows.evidence.put_failures([failure])
        rows.evidence.put_failures([failure.model_copy(update={"count": 2})])
        assert [item.count for item in rows.evidence.failures_of([failure.digest])] == [2]


WRITER = """
import sys
from fitment_controller.domain import LogEntry
from fitment_controller.store import Store
from fitment_contract.base import utc_now
store = Store(sys.argv[1])
number = 0
while True:
    number += 1
    with store.begin() as rows:
        for part in "ab":
            text = f"{number}{part}"
            rows.events.add([LogEntry(id=0, at=utc_now(), name="n", actor="w", message=text)])
    print(number, flush=True)
"""


def test_killed_while_writing_it_keeps_every_commit_and_no_half_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'controller.db'}"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    confirmed = 0
    while confirmed < 20:
        confirmed = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    confirmed = max([confirmed, *(int(line) for line in process.stdout if line.endswith("\n"))])
    with Store(url).begin() as rows:
        messages = [entry.message for entry in rows.events.after(0, 100_000)]
    assert len(messages) % 2 == 0
    assert len(messages) // 2 >= confirmed
    assert messages == [f"{n}{part}" for n in range(1, len(messages) // 2 + 1) for part in "ab"]
