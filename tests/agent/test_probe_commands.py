"""Commands of the machine: real programs that answer, fail, hang and write without end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fitment_agent.probe import MachineProbe
from fitment_agent.probe.commands import Answer, LiveCommands, RecordedCommands, run_command
from fitment_agent.settings import Settings
from support.device_roots import ROOTS

ENDED_SECONDS = 20.0


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Write a program and put it where commands are found."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def write(name: str, body: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    return write


class Clock:
    """Tells the time that the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + ENDED_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def counting(program: Callable[[str, str], Path], tmp_path: Path) -> Callable[[], int]:
    """A command that says how often it has been run; the answer is the count."""
    program("count", f"echo run >> {tmp_path}/runs; wc -l < {tmp_path}/runs")
    runs = tmp_path / "runs"
    return lambda: len(runs.read_text().splitlines()) if runs.exists() else 0


def test_arguments_go_to_the_command_as_they_are(program: Callable[[str, str], Path]) -> None:
    program("say", 'printf "%s|" "$LC_ALL" "$@"')
    answer = LiveCommands().ask(("say", "a b", "$HOME;", "*"), wait=True)
    assert answer.text == "C|a b|$HOME;|*|"


def test_what_is_not_installed_says_so_and_is_not_looked_for_again_soon(
    program: Callable[[str, str], Path],
) -> None:
    clock = Clock()
    commands = LiveCommands(clock, retry_seconds=600)
    assert commands.ask(("nmcli-of-nobody",), wait=True).fault == "nmcli-of-nobody is not installed"
    program("nmcli-of-nobody", "echo here")
    assert commands.ask(("nmcli-of-nobody",), wait=True).text is None
    clock.now += 601
    commands.ask(("nmcli-of-nobody",), wait=True)
    wait_for(lambda: commands.ask(("nmcli-of-nobody",), wait=False).text == "here\n")


def test_an_answer_is_kept_and_renewed_behind_the_scenes(
    program: Callable[[str, str], Path], tmp_path: Path
) -> None:
    runs = counting(program, tmp_path)
    clock = Clock()
    commands = LiveCommands(clock, fresh_seconds=90)
    assert commands.ask(("count",), wait=True).text == "1\n"
    clock.now += 89
    assert commands.ask(("count",), wait=True).text == "1\n"
    assert runs() == 1
    clock.now += 2
    assert commands.ask(("count",), wait=True).text == "1\n"  # the old one, at once
    wait_for(lambda: commands.ask(("count",), wait=False).text == "2\n")


def test_nobody_waits_who_does_not_want_to(program: Callable[[str, str], Path]) -> None:
    program("slow", "sleep 0.3; echo done")
    commands = LiveCommands()
    assert commands.ask(("slow",), wait=False).fault == "slow has not answered yet"
    wait_for(lambda: commands.ask(("slow",), wait=False).text == "done\n")


def test_a_command_that_hangs_is_killed_with_what_it_started_and_left_alone(
    program: Callable[[str, str], Path], tmp_path: Path
) -> None:
    program("hang", f"echo $$ >> {tmp_path}/pids\nsleep 300 &\necho $! >> {tmp_path}/pids\nwait")
    clock = Clock()
    commands = LiveCommands(clock, timeout_seconds=0.5, fresh_seconds=90, retry_seconds=600)
    assert commands.ask(("hang",), wait=True).fault == "hang did not answer within 0.5 s"
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    wait_for(lambda: not any(is_alive(pid) for pid in pids))
    clock.now += 300  # an answer would be stale by now; a failure is left alone for longer
    assert commands.ask(("hang",), wait=True).text is None
    assert not any(thread.name == "hang" for thread in threading.enumerate())


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except OSError:
        return False


def test_failure_endless_output_and_closed_output_are_no_answers(
    program: Callable[[str, str], Path],
) -> None:
    fail = program("fail", "echo half; exit 3")
    assert run_command((str(fail),), 5).fault == "fail ended with status 3"
    endless = program("endless", "exec yes")
    assert run_command((str(endless),), 0.5).text is None
    closed = program("closed", "exec >&-; exec sleep 300")
    assert run_command((str(closed),), 0.5).fault == "closed did not answer within 0.5 s"
    broken = program("broken", "")
    broken.write_bytes(b"\x7fELF nonsense")
    assert "broken cannot be started" in run_command((str(broken),), 5).fault


def test_a_system_without_a_thread_to_give_costs_one_answer(
    program: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    program("say", "echo here")
    clock = Clock()
    commands = LiveCommands(clock, retry_seconds=600)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuses)
        assert "can't start new thread" in commands.ask(("say",), wait=True).fault
    clock.now += 601
    commands.ask(("say",), wait=True)
    wait_for(lambda: commands.ask(("say",), wait=False).text == "here\n")


def test_one_command_is_asked_by_one_thread_at_a_time(
    program: Callable[[str, str], Path], tmp_path: Path
) -> None:
    program("slow", f"echo run >> {tmp_path}/runs; sleep 0.3; echo done")
    commands = LiveCommands()
    for _ in range(20):
        commands.ask(("slow",), wait=False)
    assert sum(thread.name == "slow" for thread in threading.enumerate()) == 1
    assert commands.ask(("slow",), wait=True).text == "done\n"
    assert (tmp_path / "runs").read_text() == "run\n"


class Asked:
    """Notes who is asked for what, and whether the asking one waits."""

    def __init__(self) -> None:
        self.waited: dict[str, bool] = {}

    def ask(self, command: tuple[str, ...], *, wait: bool) -> Answer:
        self.waited[command[0]] = wait or self.waited.get(command[0], False)
        return Answer(None, "silent")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("termux", {"termux-battery-status", "termux-wifi-connectioninfo", "getprop"}),
        ("pi5", {"vcgencmd", "nmcli"}),
        ("laptop", {"nmcli"}),
    ],
)
def test_the_loop_never_waits_for_a_command_and_the_facts_do(name: str, expected: set[str]) -> None:
    settings = Settings(device_id="d", state_dir=ROOTS, root_prefix=ROOTS / name)
    asked = Asked()
    MachineProbe(settings, asked).surroundings()
    assert asked.waited
    assert not any(asked.waited.values())
    MachineProbe(settings, asked).read()
    assert {command for command, waited in asked.waited.items() if waited} == expected


def test_recorded_output(tmp_path: Path) -> None:
    (tmp_path / "commands").mkdir()
    (tmp_path / "commands" / "nvpmodel--q").write_text("NV Power Mode: 15W\n0\n")
    commands = RecordedCommands(tmp_path)
    assert commands.ask(("nvpmodel", "-q"), wait=True).text == "NV Power Mode: 15W\n0\n"
    assert commands.ask(("nvpmodel",), wait=True).fault == "nvpmodel is not installed"
    assert commands.ask(("nvpmodel", "\0"), wait=True).text is None
