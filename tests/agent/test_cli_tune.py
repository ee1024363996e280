"""`fitment-agent tune`: measured in a worker, handed to applications, with and without an agent."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from fitment_agent import control, model
from fitment_agent.cli_tune import tune
from fitment_agent.deployment import RetryPolicy
from fitment_agent.deployment_events import Fetched, Proved, Verified, Weighed
from fitment_agent.errors import BenchmarkFailedError, UnknownModelError
from fitment_agent.journal import Journal
from fitment_agent.state import AgentState
from fitment_contract.benchmark import SessionTuning
from fitment_contract.messages import Desired
from support.agent_records import NOW, a_report
from support.runtime_models import save_mlp
from support.runtime_state import trial_job

app = typer.Typer()
app.command()(tune)


def run(*arguments: object) -> dict[str, Any]:
    command = [*map(str, arguments), "--seconds", "1", "-o", "json"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Of a device on which a model is active, measured on far too many threads."""
    folder = tmp_path / "state"
    assignment = trial_job(folder, save_mlp(tmp_path / "m.onnx")).assignment
    journal = Journal(folder / "journal.db")
    state = AgentState(folder, journal, RetryPolicy(), clock=lambda: NOW)
    state.accept(Desired(device="d", sent_at=NOW, generation=1, assignments=(assignment,)))
    report = a_report(assignment)
    slow = report.model_copy(update={"latency": report.latency.model_copy(update={"threads": 999})})
    for event in (Weighed(None), Fetched(1), Verified(), Proved(slow)):
        state.apply(assignment.model, event)
    journal.close()
    return folder


@contextmanager
def an_agent(state_dir: Path) -> Iterator[list[dict[str, Any]]]:
    """A stand-in for the daemon's loop: it holds the lock and answers requests."""
    asked: list[dict[str, Any]] = []
    lock, over = control.RunLock(state_dir, "bench-1"), threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda *_: None)

    def answer() -> None:
        while not over.wait(0.05):
            control.answer_requests(state_dir, asked.append)

    thread = threading.Thread(target=answer)
    lock.acquire()
    thread.start()
    try:
        yield asked
    finally:
        over.set()
        thread.join()
        lock.release()
        signal.signal(signal.SIGUSR1, before)


def test_applications_have_the_best_options_at_once(state_dir: Path) -> None:
    assert model("toy", state_dir).session_options["threads"] == 999
    screen = run("toy", "--state-dir", state_dir)
    assert (screen["kind"], screen["kept"]) == ("SessionTuning", True)
    options = model("toy", state_dir).session_options
    found = SessionTuning.model_validate(screen["tuning"])
    assert options["threads"] == found.threads != 999
    assert options["affinity"] == list(found.affinity)
    kept = Journal(state_dir / "journal.db").tuning(found.digest, found.fingerprint)
    assert kept == found


def test_a_running_agent_is_told(state_dir: Path) -> None:
    """Only it may write the journal and the pointer while it runs."""
    with an_agent(state_dir) as asked:
        screen = run("toy", "--state-dir", state_dir)
    (request,) = asked
    assert (request["command"], request["model"]) == ("tuned", "toy")
    found = SessionTuning.model_validate_json(request["tuning"])
    assert found == SessionTuning.model_validate(screen["tuning"])
    assert model("toy", state_dir).session_options["threads"] == 999


def test_a_file_is_only_measured(tmp_path: Path) -> None:
    screen = run(save_mlp(tmp_path / "m.onnx"), "--state-dir", tmp_path / "nothing")
    assert not screen["kept"]
    assert not (tmp_path / "nothing").exists()


def test_the_table_says_what_was_gained(tmp_path: Path) -> None:
    path = save_mlp(tmp_path / "m.onnx")
    command = [str(path), "--seconds", "1", "--state-dir", str(tmp_path)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    for words in ("threads", "memory arena", "one thread and no options", "only measured"):
        assert words in result.stdout


def test_what_is_not_known_or_does_not_run_is_named(tmp_path: Path, state_dir: Path) -> None:
    with pytest.raises(UnknownModelError, match="keyword"):
        run("keyword", "--state-dir", state_dir)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(BenchmarkFailedError, match="load_failed"):
        run(broken, "--state-dir", state_dir)
