"""What the agent must remember across a crash, in SQLite.

WAL with `synchronous=FULL`: the only SQLite setting that kept every acknowledged write through
simulated power cuts. Even so the agent survives losing the whole journal, because pointers say
what is active and the controller says what is wanted: a database that cannot be read is set aside
and a fresh one is begun; storage that cannot be written at all leaves a journal in memory.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from fitment_agent.deployment import Deployment
from fitment_agent.errors import StorageError
from fitment_agent.journal_file import JournalFile, set_meta
from fitment_contract.base import utc_now
from fitment_contract.benchmark import BenchmarkReport, SessionTuning
from fitment_contract.device import RuntimeFacts
from fitment_contract.messages import Assignment

OUTBOX_LIMIT: Final = 500
HISTORY_LIMIT: Final = 1000
TUNINGS_LIMIT: Final = 100


@dataclass(frozen=True)
class Proof:
    """A variant that ran here, with what it was measured at when that is still known."""

    assignment: Assignment
    benchmark: BenchmarkReport | None


@dataclass(frozen=True)
class OutboxItem:
    """A message that is kept until the broker has acknowledged it.

    Attributes:
        channel: the last level of its topic.
        body: its own fields; session, sequence and device are added when it is sent.
    """

    id: int
    channel: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class HistoryEntry:
    """One phase change."""

    at: str
    model: str
    generation: int
    variant: str
    phase: str
    reason: str | None


class Journal(JournalFile):
    """The journal of one agent. Used from one thread.

    Args:
        path: the database file.
        clock: tells the wall time.

    Attributes:
        faults: what was wrong when it was opened, in sentences; empty when all was well.
        volatile: it lives in memory only, because the storage cannot be written.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__(path, clock)
        self._session = int(self._meta("session") or 0)
        self.dropped = int(self._meta("outbox_dropped") or 0)

    @classmethod
    def read_only(cls, path: Path) -> Journal:
        """The journal of an agent that may be running; every write fails.

        Raises:
            StorageError: it cannot be read.
        """
        journal = cls.__new__(cls)
        journal._clock, journal.faults, journal.volatile = utc_now, [], False
        try:
            journal._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            journal._session = int(journal._meta("session") or 0)
            journal.dropped = int(journal._meta("outbox_dropped") or 0)
        except (sqlite3.Error, StorageError) as error:
            raise StorageError(
                f"{path} cannot be read: {error}.",
                "Run this as the agent's user, or name its state directory with --state-dir.",
            ) from None
        return journal

    def close(self) -> None:
        """Close the database; what was written is durable already."""
        self._connection.close()

    # Deployments

    def deployments(self) -> dict[str, Deployment]:
        """Every model's deployment, by model. A record of another version is left out, as lost."""
        found = {}
        for model, record in self._rows("SELECT model, record FROM deployments ORDER BY model"):
            try:
                found[model] = Deployment.model_validate_json(record)
            except ValidationError as error:
                self.faults.append(f"the record of {model} cannot be read: {error.error_count()}")
        return found

    def save(self, *deployments: Deployment, generation: int | None = None) -> None:
        """Persist deployments, and the generation that they answer, in one transaction.

        Raises:
            StorageError: nothing was persisted.
        """
        with self._transaction() as connection:
            for deployment in deployments:
                connection.execute(
                    "INSERT OR REPLACE INTO deployments VALUES (?, ?)",
                    (deployment.model, deployment.model_dump_json(exclude_none=True)),
                )
                self._remember(connection, deployment)
            if generation is not None:
                set_meta(connection, "generation", generation)

    def generation(self) -> int:
        """The newest generation that was accepted; 0 before the first."""
        return int(self._meta("generation") or 0)

    def history(self, limit: int = 50) -> list[HistoryEntry]:
        """The newest phase changes, newest first."""
        rows = self._rows(
            "SELECT at, model, generation, variant, phase, reason FROM history"
            " ORDER BY id DESC LIMIT ?",
            limit,
        )
        return [HistoryEntry(*row) for row in rows]

    # Proofs

    def add_proof(self, deployment: Deployment) -> None:
        """Remember that a deployment's variant ran here.

        Raises:
            StorageError: it was not persisted.
        """
        self._put_proof(deployment.assignment, deployment.digest, deployment.benchmark)

    def add_low_power_proof(self, assignment: Assignment, report: BenchmarkReport) -> None:
        """Remember that the second variant of an assignment, of which `report` is, ran here.

        Raises:
            StorageError: it was not persisted.
        """
        self._put_proof(assignment, report.digest, report)

    def _put_proof(
        self, assignment: Assignment, digest: str, report: BenchmarkReport | None
    ) -> None:
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO proofs VALUES (?, ?, ?, ?)",
                (
                    assignment.model,
                    digest,
                    assignment.model_dump_json(exclude_none=True),
                    report.model_dump_json(exclude_none=True) if report else None,
                ),
            )

    def proof(self, model: str, digest: str) -> Proof | None:
        """The proof of a variant, if it is still remembered."""
        query = "SELECT assignment, benchmark FROM proofs WHERE model = ? AND digest = ?"
        for assignment, benchmark in self._rows(query, model, digest):
            with suppress(ValidationError):
                report = BenchmarkReport.model_validate_json(benchmark) if benchmark else None
                return Proof(Assignment.model_validate_json(assignment), report)
        return None

    def forget_proofs(self, model: str, keep: Iterable[str]) -> None:
        """Forget the proofs of a model's variants whose digest is not in `keep`."""
        kept = set(keep)
        query = "SELECT digest FROM proofs WHERE model = ?"
        old = [digest for (digest,) in self._rows(query, model) if digest not in kept]
        if old:
            with self._transaction() as connection:
                connection.executemany(
                    "DELETE FROM proofs WHERE model = ? AND digest = ?",
                    [(model, digest) for digest in old],
                )

    # Tunings

    def add_tuning(self, tuning: SessionTuning) -> None:
        """Keep what was found best, in place of what was found for the same file and device.

        Raises:
            StorageError: it was not kept.
        """
        record = tuning.model_dump_json()
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO tunings (digest, fingerprint, record) VALUES (?, ?, ?)",
                (tuning.digest, tuning.fingerprint, record),
            )
            connection.execute(
                "DELETE FROM tunings WHERE rowid <= (SELECT MAX(rowid) FROM tunings) - ?",
                (TUNINGS_LIMIT,),
            )

    def tuning(self, digest: str, fingerprint: str | None = None) -> SessionTuning | None:
        """What was found best for a file on a device like this one; the newest when None."""
        rows = self._rows(
            "SELECT record FROM tunings WHERE digest = ? AND fingerprint = COALESCE(?, fingerprint)"
            " ORDER BY rowid DESC LIMIT 1",
            digest,
            fingerprint,
        )
        with suppress(ValidationError):
            return SessionTuning.model_validate_json(rows[0][0]) if rows else None
        return None

    # Sessions, stops, outbox, cache

    def next_session(self) -> int:
        """A session number that is higher than all before it.

        It is at least the Unix time, so that it grows even when the journal was lost or, as on a
        full disk, cannot be written.
        """
        self._session = max(self._session + 1, int(self._clock().timestamp()))
        with suppress(StorageError), self._transaction() as connection:
            set_meta(connection, "session", self._session)
        return self._session

    def begin_run(self) -> bool:
        """Note that the agent runs; whether it did not stop by itself the last time."""
        crashed = self._meta("running") == "1"
        with suppress(StorageError), self._transaction() as connection:
            set_meta(connection, "running", 1)
        return crashed

    def end_run(self) -> None:
        """Note that the agent stops by itself."""
        with suppress(StorageError), self._transaction() as connection:
            set_meta(connection, "running", 0)

    def put_out(self, channel: str, body: Mapping[str, Any]) -> None:
        """Keep a message until it is acknowledged; beyond `OUTBOX_LIMIT` the oldest go.

        Raises:
            StorageError: it was not kept.
        """
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO outbox (channel, body) VALUES (?, ?)", (channel, json.dumps(body))
            )
            dropped = connection.execute(
                "DELETE FROM outbox WHERE id <= (SELECT MAX(id) FROM outbox) - ?", (OUTBOX_LIMIT,)
            ).rowcount
            if dropped:
                self.dropped += dropped
                set_meta(connection, "outbox_dropped", self.dropped)

    def outbox(self) -> list[OutboxItem]:
        """Everything that is not acknowledged yet, oldest first."""
        rows = self._rows("SELECT id, channel, body FROM outbox ORDER BY id")
        return [OutboxItem(id, channel, json.loads(body)) for id, channel, body in rows]

    def acknowledge(self, id: int) -> None:
        """Drop an outbox item that the broker has."""
        with suppress(StorageError), self._transaction() as connection:
            connection.execute("DELETE FROM outbox WHERE id = ?", (id,))

    def bytes_on(self, day: str) -> int:
        """Payload bytes that were counted on `day`; only the newest day counted is remembered."""
        counted, _, count = (self._meta("bytes_on") or "").partition(" ")
        return int(count) if counted == day else 0

    def count_bytes(self, day: str, count: int) -> None:
        """Add to the payload bytes of `day`.

        Raises:
            StorageError: they were not counted.
        """
        total = self.bytes_on(day) + count
        with self._transaction() as connection:
            set_meta(connection, "bytes_on", f"{day} {total}")

    def cached_runtimes(self, key: str) -> tuple[RuntimeFacts, ...] | None:
        """What was found out about the runtimes when their packages were as `key` says."""
        cached = json.loads(self._meta("runtimes") or "{}")
        if cached.get("key") != key:
            return None
        with suppress(ValidationError):
            return tuple(RuntimeFacts.model_validate(item) for item in cached["runtimes"])
        return None

    def cache_runtimes(self, key: str, runtimes: Iterable[RuntimeFacts]) -> None:
        """Remember what `cached_runtimes` gives for `key`."""
        found = [runtime.model_dump(mode="json") for runtime in runtimes]
        with suppress(StorageError), self._transaction() as connection:
            set_meta(connection, "runtimes", json.dumps({"key": key, "runtimes": found}))

    def _remember(self, connection: sqlite3.Connection, deployment: Deployment) -> None:
        failure = deployment.failure
        variant, phase = deployment.assignment.variant.name, deployment.phase.value
        reason = failure.reason.value if failure else None
        entry = (deployment.model, deployment.generation, variant, phase, reason)
        last = connection.execute(
            "SELECT model, generation, variant, phase, reason FROM history"
            " WHERE model = ? ORDER BY id DESC LIMIT 1",
            (deployment.model,),
        ).fetchone()
        if last == entry:
            return
        connection.execute(
            "INSERT INTO history (at, model, generation, variant, phase, reason)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (self._clock().isoformat(timespec="milliseconds"), *entry),
        )
        connection.execute(
            "DELETE FROM history WHERE id <= (SELECT MAX(id) FROM history) - ?", (HISTORY_LIMIT,)
        )
