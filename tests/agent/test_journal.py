"""The journal: durable, bounded, and never worth more than the agent itself."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timezone
from pathlib import Path

import pytest

from fitment_agent import journal as journal_module
from fitment_agent.deployment import Deployment
from fitment_agent.errors import StorageError
from fitment_agent.journal import Journal
from fitment_contract.benchmark import SessionTuning
from fitment_contract.device import RuntimeFacts
from fitment_contract.phase import Phase
from support.agent_records import NOW, a_report, an_assignment


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def test_what_was_saved_is_there_after_reopening(path: Path) -> None:
    deployment = Deployment(generation=3, assignment=an_assignment(), phase=Phase.TRIAL)
    journal = Journal(path)
    journal.save(deployment, generation=3)
    journal.close()
    again = Journal(path)
    assert again.deployments() == {"activity": deployment}
    assert again.generation() == 3
    assert again.faults == []


def test_it_is_durable_by_the_only_setting_that_survives_power_cuts(path: Path) -> None:
    journal = Journal(path)
    pragmas = [journal._rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous")]
    assert pragmas == ["wal", 2]


def test_a_journal_that_is_garbage_is_set_aside(path: Path) -> None:
    path.write_bytes(b"this is no database" * 500)
    journal = Journal(path, clock=lambda: NOW)
    assert len(journal.faults) == 1
    assert journal.generation() == 0
    assert path.with_name("journal.db.corrupt-20261123T120000").exists()


def test_a_journal_of_another_version_is_set_aside(path: Path) -> None:
    Journal(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    assert "99" in Journal(path).faults[0]


def test_one_record_that_cannot_be_read_costs_only_itself(path: Path) -> None:
    journal = Journal(path)
    journal.save(Deployment(generation=1, assignment=an_assignment()))
    journal.save(Deployment(generation=1, assignment=an_assignment(model="other")))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE deployments SET record = '{}' WHERE model = 'other'")
    assert list(journal.deployments()) == ["activity"]
    assert len(journal.faults) == 1


def test_storage_that_cannot_be_written_leaves_a_journal_in_memory(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    journal = Journal(blocked / "journal.db")
    assert journal.volatile
    journal.save(Deployment(generation=1, assignment=an_assignment()))
    assert len(journal.deployments()) == 1


def test_a_full_disk_is_a_storage_error_and_changes_nothing(path: Path) -> None:
    journal = Journal(path)
    pages = journal._rows("PRAGMA page_count")[0][0]
    journal._connection.execute(f"PRAGMA max_page_count={pages}")  # SQLite says: disk is full
    many = [Deployment(generation=1, assignment=an_assignment(model=f"m{i}")) for i in range(200)]
    with pytest.raises(StorageError, match="full"):
        journal.save(*many)
    assert journal.deployments() == {}


def test_sessions_grow_even_when_the_journal_was_lost(path: Path) -> None:
    journal = Journal(path, clock=lambda: NOW)
    first, second = journal.next_session(), journal.next_session()
    assert second == first + 1
    journal.close()
    assert Journal(path, clock=lambda: NOW).next_session() == second + 1
    path.unlink()
    later = NOW.replace(minute=1)
    assert Journal(path, clock=lambda: later).next_session() > second


def test_sessions_grow_when_the_clock_is_set_back(path: Path) -> None:
    journal = Journal(path, clock=lambda: NOW)
    before = journal.next_session()
    journal.close()
    early = Journal(path, clock=lambda: datetime(1970, 1, 1, tzinfo=timezone.utc))
    assert early.next_session() == before + 1


def test_the_outbox_drops_the_oldest_and_counts_them(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "OUTBOX_LIMIT", 3)
    journal = Journal(path)
    for number in range(5):
        journal.put_out("event", {"detail": str(number)})
    assert [item.body["detail"] for item in journal.outbox()] == ["2", "3", "4"]
    assert journal.dropped == 2
    journal.acknowledge(journal.outbox()[0].id)
    assert [item.body["detail"] for item in journal.outbox()] == ["3", "4"]


def test_the_history_is_bounded_and_holds_changes_only(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "HISTORY_LIMIT", 2)
    journal = Journal(path)
    for phase in (Phase.OFFERED, Phase.OFFERED, Phase.FETCHING, Phase.VERIFYING):
        journal.save(Deployment(generation=1, assignment=an_assignment(), phase=phase))
    assert [entry.phase for entry in journal.history()] == ["verifying", "fetching"]


def test_proofs_are_kept_by_digest_until_forgotten(path: Path) -> None:
    journal, assignment = Journal(path), an_assignment()
    report = a_report(assignment)
    proved = Deployment(generation=1, assignment=assignment, benchmark=report)
    journal.add_proof(proved)
    found = journal.proof("activity", proved.digest)
    assert found is not None
    assert (found.assignment, found.benchmark) == (assignment, report)
    journal.forget_proofs("activity", keep=[proved.digest])
    assert journal.proof("activity", proved.digest) is not None
    journal.forget_proofs("activity", keep=[])
    assert journal.proof("activity", proved.digest) is None


def test_runtimes_are_remembered_for_the_very_packages(path: Path) -> None:
    journal = Journal(path)
    runtimes = (RuntimeFacts(name="onnxruntime", version="1", formats=("onnx",), opset_max=20),)
    journal.cache_runtimes("onnxruntime==1", runtimes)
    assert journal.cached_runtimes("onnxruntime==1") == runtimes
    assert journal.cached_runtimes("onnxruntime==2") is None


def test_it_tells_a_crash_from_a_stop(path: Path) -> None:
    journal = Journal(path)
    assert journal.begin_run() is False
    assert journal.begin_run() is True
    journal.end_run()
    assert journal.begin_run() is False


def test_looking_does_not_change_it(path: Path) -> None:
    Journal(path).save(Deployment(generation=1, assignment=an_assignment()), generation=1)
    reader = Journal.read_only(path)
    assert reader.generation() == 1
    with pytest.raises(StorageError):
        reader.save(Deployment(generation=2, assignment=an_assignment()))
    with pytest.raises(StorageError, match="cannot be read"):
        Journal.read_only(path.with_name("none.db"))


def a_tuning(threads: int, digest: str = "a" * 64, fingerprint: str = "0" * 16) -> SessionTuning:
    return SessionTuning(
        digest=digest,
        fingerprint=fingerprint,
        threads=threads,
        p50_seconds=0.001,
        reference_p50_seconds=0.002,
        candidates=3,
        measured_at=NOW,
    )


def test_the_last_tuning_of_a_file_on_a_device_is_kept(path: Path) -> None:
    journal = Journal(path)
    for tuning in (a_tuning(1), a_tuning(4, fingerprint="1" * 16), a_tuning(2)):
        journal.add_tuning(tuning)
    journal.close()
    again = Journal(path)
    assert again.tuning("a" * 64, "0" * 16) == a_tuning(2)
    assert again.tuning("a" * 64, "1" * 16) == a_tuning(4, fingerprint="1" * 16)
    assert again.tuning("a" * 64) == a_tuning(2)  # the newest
    assert again.tuning("a" * 64, "2" * 16) is None
    assert again.tuning("b" * 64) is None


def test_old_tunings_are_forgotten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "TUNINGS_LIMIT", 2)
    journal = Journal(path)
    digests = [letter * 64 for letter in "abc"]
    for digest in digests:
        journal.add_tuning(a_tuning(1, digest=digest))
    assert [journal.tuning(digest) is not None for digest in digests] == [False, True, True]
