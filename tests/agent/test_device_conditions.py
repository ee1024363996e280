"""Conditions on a real agent: it waits, says for what and until when, and goes on by itself."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fitment_agent import foreground
from fitment_contract.base import utc_now
from fitment_contract.messages import (
    Assignment,
    Birth,
    DeployConditions,
    Event,
    ModelState,
    Waiting,
    WaitReason,
    Window,
)
from fitment_contract.phase import FailureReason, Phase
from support.agent_lab import AgentProcess, Lab, free_port, running_agent, wait_until

pytestmark = pytest.mark.system

# The agent as it is, with a journal that runs a line of code right after persisting a phase once.
MEANWHILE = """
import sys
from pathlib import Path
from fitment_agent.journal import Journal
from fitment_agent.settings import Settings
from fitment_agent.wiring import JOURNAL_FILE, build_daemon

settings = Settings.from_json(sys.argv[1])
phase, code = sys.argv[2:]

class Watched(Journal):
    done = False
    def save(self, *deployments, generation=None):
        super().save(*deployments, generation=generation)
        if not self.done and any(one.phase.value == phase for one in deployments):
            self.done = True
            exec(code)

build_daemon(settings, journal=Watched(settings.state_dir / JOURNAL_FILE)).run()
"""

# The agent as it is, by a clock on the wall that is wrong by what a file says.
BY_ANOTHER_CLOCK = """
import sys
from datetime import datetime, timedelta
from pathlib import Path
import fitment_contract.base as base

right = base.utc_now
def wrong():
    try:
        return right() + timedelta(seconds=float(Path(sys.argv[2]).read_text()))
    except ValueError:
        return right()
base.utc_now = wrong

from fitment_agent.settings import Settings
from fitment_agent.wiring import build_daemon
build_daemon(Settings.from_json(sys.argv[1])).run()
"""

TO_1970 = (datetime(1970, 1, 2, tzinfo=timezone.utc) - utc_now()).total_seconds()
TWENTY_YEARS = 20 * 366 * 86_400.0


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.close()


class Declared:
    """A facts file: the device's readings, to be changed while the agent runs."""

    def __init__(self, folder: Path, **readings: Any) -> None:
        self.path = folder / "facts.json"
        self.now(**readings)

    def now(self, **readings: Any) -> None:
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps(readings))
        temporary.rename(self.path)


@contextmanager
def serving(port: int, content: bytes, allowed: threading.Event | None = None) -> Iterator[None]:
    """A server of one file, which sends no byte of it before it is allowed to."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if allowed is not None:
                allowed.wait(60)
            with suppress(OSError):  # the device may have gone meanwhile
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        if allowed is not None:
            allowed.set()
        server.shutdown()
        server.server_close()
        thread.join()


def located(assignment: Assignment, port: int) -> Assignment:
    """The same assignment, to be fetched from `port`."""
    artifact = assignment.variant.artifact.located(f"http://127.0.0.1:{port}/file")
    variant = assignment.variant.model_copy(update={"artifact": artifact})
    return assignment.model_copy(update={"variant": variant})


def awaited(lab: Lab, reason: WaitReason, generation: int = 1) -> Waiting:
    """The device waits, for this reason."""

    def found() -> ModelState | None:
        waits = [
            state
            for state in lab.headquarters.states()
            if state.generation == generation and state.waiting and state.waiting.reason is reason
        ]
        return waits[-1] if waits else None

    state: ModelState = wait_until(found, f"the device to wait for {reason.value}")
    assert state.waiting is not None
    return state.waiting


def hours_from_now(*hours: int) -> list[str]:
    return [(datetime.now() + timedelta(hours=one)).strftime("%H:%M") for one in hours]


def test_outside_its_window_it_says_when_the_next_opens(lab: Lab) -> None:
    opens, closes, earlier = hours_from_now(2, 4, -2)
    closed = DeployConditions(windows=(Window(start=opens, end=closes),))
    with running_agent(lab.settings(conditions_poll_seconds=3600.0)):
        lab.headquarters.desire(1, lab.assignment(conditions=closed))
        waiting = awaited(lab, WaitReason.WINDOW)
        assert waiting.until is not None
        assert timedelta(hours=1) < waiting.until - utc_now() < timedelta(hours=3)
        now_open = DeployConditions(windows=(Window(start=earlier, end=opens),))
        lab.headquarters.desire(2, lab.assignment(conditions=now_open))
        lab.headquarters.await_state(Phase.ACTIVE, 2)  # new terms are weighed at once


def test_it_keeps_quiet_while_somebody_uses_an_application(lab: Lab) -> None:
    quiet = DeployConditions(quiet_in_foreground=True)
    with running_agent(lab.settings(conditions_poll_seconds=0.2)):
        wait_until(lambda: lab.headquarters.all(Birth), "a birth")
        with foreground(lab.state_dir):
            lab.headquarters.desire(1, lab.assignment(conditions=quiet))
            awaited(lab, WaitReason.FOREGROUND)
        lab.headquarters.await_state(Phase.ACTIVE, 1)


def test_a_device_that_got_hot_waits_before_the_trial_and_fetches_nothing_again(
    lab: Lab, tmp_path: Path
) -> None:
    facts = Declared(tmp_path, thermal={"temperature_celsius": 40.0})
    hot = json.dumps({"thermal": {"temperature_celsius": 90.0}})
    settings = lab.settings(facts_file=facts.path, conditions_poll_seconds=0.2)
    cool_only = DeployConditions(max_temperature_celsius=70.0)
    heats_up = f"Path({str(facts.path)!r}).write_text({hot!r})"
    agent = AgentProcess(settings, MEANWHILE, Phase.VERIFYING.value, heats_up)
    try:
        lab.headquarters.desire(1, lab.assignment(conditions=cool_only))
        assert "90" in awaited(lab, WaitReason.THERMAL).detail
        facts.now(thermal={"temperature_celsius": 50.0})
        state = lab.headquarters.await_state(Phase.ACTIVE, 1)
    finally:
        agent.kill()
    assert lab.artifacts.hits == 1
    assert state.bytes_transferred == lab.assignment().variant.artifact.size_bytes


def test_a_file_that_is_lost_before_the_trial_is_fetched_again(lab: Lab) -> None:
    settings = lab.settings(retry_base_seconds=0.1)
    loses_it = "[path.unlink() for path in (settings.state_dir / 'blobs').iterdir()]"
    agent = AgentProcess(settings, MEANWHILE, Phase.TRIAL.value, loses_it)
    try:
        lab.headquarters.desire(1, lab.assignment())
        lab.headquarters.await_state(Phase.ACTIVE, 1)
    finally:
        agent.kill()
    assert lab.artifacts.hits == 2


def test_a_transfer_stops_when_its_link_becomes_a_metered_one(lab: Lab, tmp_path: Path) -> None:
    facts, port = Declared(tmp_path, link={"metered": False}), free_port()
    unmetered = DeployConditions(allow_metered=False)
    assignment = located(lab.assignment(conditions=unmetered), port)
    content, allowed = (tmp_path / "mlp-8.onnx").read_bytes(), threading.Event()
    settings = lab.settings(facts_file=facts.path, conditions_poll_seconds=0.2)
    with running_agent(settings), serving(port, content, allowed):
        lab.headquarters.desire(1, assignment)
        wait_until(
            lambda: [one for one in lab.headquarters.states() if one.phase is Phase.FETCHING],
            "the transfer to begin",
        )
        facts.now(link={"metered": True})
        awaited(lab, WaitReason.METERED)
        allowed.set()
        facts.now(link={"metered": False})
        lab.headquarters.await_state(Phase.ACTIVE, 1)


def test_without_a_network_no_try_is_used_up_and_its_return_is_noticed(
    lab: Lab, tmp_path: Path
) -> None:
    """With one try only, and pauses of hours: just the broker's return can bring it on."""
    facts, port = Declared(tmp_path, link={"metered": True}), free_port()
    settings = lab.settings(
        facts_file=facts.path,
        conditions_poll_seconds=0.2,
        retry_limit=0,
        retry_base_seconds=36_000.0,
        retry_max_seconds=36_000.0,
    )
    unmetered = DeployConditions(allow_metered=False)
    assignment = located(lab.assignment(conditions=unmetered), port)
    content = (tmp_path / "mlp-8.onnx").read_bytes()
    with running_agent(settings):
        lab.headquarters.desire(1, assignment)
        awaited(lab, WaitReason.METERED)
        lab.broker.stop()
        facts.now(link={"metered": False})
        wait_until(lambda: "unreachable" in waiting_here(lab), "the transfer to fail")
        with serving(port, content):
            lab.broker.start()
            lab.headquarters.await_state(Phase.ACTIVE, 1)


def test_a_network_without_that_server_uses_up_the_tries(lab: Lab) -> None:
    nobody_there = located(lab.assignment(), free_port())
    with running_agent(lab.settings(retry_limit=1, retry_base_seconds=0.1)):
        lab.headquarters.desire(1, nobody_there)
        state = lab.headquarters.await_state(Phase.ROLLED_BACK, 1)
    assert state.failure is not None
    assert state.failure.reason is FailureReason.UNREACHABLE


def waiting_here(lab: Lab) -> str:
    """What the device's own journal says it waits for."""
    from fitment_agent.journal import Journal

    journal = Journal.read_only(lab.state_dir / "journal.db")
    try:
        found = journal.deployments()["activity"].waiting
        return found.detail if found else ""
    finally:
        journal.close()


def test_a_clock_turned_by_years_neither_ends_a_wait_nor_prolongs_it(
    lab: Lab, tmp_path: Path
) -> None:
    facts = Declared(tmp_path, link={"metered": True})
    settings = lab.settings(facts_file=facts.path, conditions_poll_seconds=0.2)
    clock = tmp_path / "clock"
    clock.write_text("0")
    patient = DeployConditions(allow_metered=False, max_defer_seconds=3600.0)
    agent = AgentProcess(settings, BY_ANOTHER_CLOCK, str(clock))
    try:
        lab.headquarters.desire(1, lab.assignment(conditions=patient))
        until = awaited(lab, WaitReason.METERED).until
        assert until is not None
        for number, turned in enumerate((TWENTY_YEARS, TO_1970), start=1):
            clock.write_text(str(turned))
            wait_until(lambda n=number: len(turns(lab)) >= n, "the turn to be noticed")
            told = wait_until(
                lambda t=turned: (
                    moment
                    if (moment := awaited(lab, WaitReason.METERED).until)
                    and abs((moment - until).total_seconds() - t) < 1800
                    else None
                ),
                "the wait to be told by the new clock",
            )
            assert told is not None
        facts.now(link={"metered": False})
        lab.headquarters.await_state(Phase.ACTIVE, 1)
    finally:
        agent.kill()


def turns(lab: Lab) -> list[Event]:
    return [event for event in lab.headquarters.all(Event) if event.name == "clock-turned"]


def test_a_file_larger_than_the_bytes_of_a_day_comes_over_two(lab: Lab, tmp_path: Path) -> None:
    """It stops at the budget, to within one read, and goes on from there on the next day."""
    content, budget, read_bytes = os.urandom(400_000), 200_000, 64 * 1024
    large = lab.assignment(conditions=DeployConditions(max_bytes_per_day=budget))
    changes = {"artifact": lab.artifacts.add(content), "compressed_bytes": len(content)}
    variant = large.variant.model_copy(update=changes)
    to_noon = (datetime.now().replace(hour=12) - datetime.now()).total_seconds()
    clock = tmp_path / "clock"
    clock.write_text(str(to_noon))
    settings = lab.settings(conditions_poll_seconds=0.2)
    agent = AgentProcess(settings, BY_ANOTHER_CLOCK, str(clock))
    try:
        lab.headquarters.desire(1, large.model_copy(update={"variant": variant}))
        waiting = awaited(lab, WaitReason.BYTE_BUDGET)
        noon = utc_now() + timedelta(seconds=to_noon)
        assert waiting.until is not None
        assert timedelta(hours=10) < waiting.until - noon < timedelta(hours=14)
        partial = lab.state_dir / "partial" / variant.digest
        assert budget <= partial.stat().st_size < budget + read_bytes
        clock.write_text(str(to_noon + 86_400))
        state = lab.headquarters.await_state(Phase.ROLLED_BACK, 1)
    finally:
        agent.kill()
    assert state.failure is not None
    assert state.failure.phase is Phase.TRIAL  # whole and verified; random bytes are no model
    assert state.bytes_transferred == len(content)
    assert lab.artifacts.hits == 2


def test_a_device_that_starts_in_1970_works_and_waits_for_windows_only(
    lab: Lab, tmp_path: Path
) -> None:
    clock = tmp_path / "clock"
    clock.write_text(str(TO_1970))
    earlier, later = hours_from_now(-2, 2)
    by_day = DeployConditions(windows=(Window(start=earlier, end=later),))
    settings = lab.settings(conditions_poll_seconds=0.2)
    agent = AgentProcess(settings, BY_ANOTHER_CLOCK, str(clock))
    try:
        lab.headquarters.desire(1, lab.assignment(features=8))
        lab.headquarters.await_state(Phase.ACTIVE, 1)
        lab.headquarters.desire(2, lab.assignment(features=16, conditions=by_day))
        assert awaited(lab, WaitReason.WINDOW, 2).detail == "the clock is not set"
        clock.write_text("0")
        lab.headquarters.await_state(Phase.ACTIVE, 2)
        sessions = [birth.session for birth in lab.headquarters.all(Birth)]
        agent.kill()
        clock.write_text(str(TO_1970))
        agent = AgentProcess(settings, BY_ANOTHER_CLOCK, str(clock))
        again = wait_until(
            lambda: [one for one in lab.headquarters.all(Birth) if one.session > max(sessions)],
            "a birth in a higher session",
        )
        assert again[-1].models[0].phase is Phase.ACTIVE
    finally:
        agent.kill()
