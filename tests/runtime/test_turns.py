"""Timed passes on one machine take turns, and nobody fails for want of one."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fitment_runtime.turns import own_turn

HOLD = """
import sys, time
from pathlib import Path
from fitment_runtime.turns import own_turn
with own_turn(5.0, [Path(sys.argv[1])]) as held:
    print(held, flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_only_one_holds_the_turn(tmp_path: Path) -> None:
    process = holder(tmp_path)
    with own_turn(0.05, [tmp_path]) as held:
        assert not held
    process.communicate("")
    with own_turn(5.0, [tmp_path]) as held:
        assert held


def test_the_turn_of_a_killed_process_is_free(tmp_path: Path) -> None:
    process = holder(tmp_path)
    process.kill()
    process.communicate()
    with own_turn(5.0, [tmp_path]) as held:
        assert held


def test_a_turn_is_waited_for(tmp_path: Path) -> None:
    process = holder(tmp_path)
    threading.Timer(0.2, process.kill).start()
    with own_turn(60.0, [tmp_path]) as held:
        assert held
    process.communicate()


@pytest.mark.parametrize("lock", ["missing folder", "folder in its place", "link to elsewhere"])
def test_without_a_lock_file_timing_goes_on(tmp_path: Path, lock: str) -> None:
    folder = tmp_path / "shared"
    if lock != "missing folder":
        folder.mkdir()
    if lock == "folder in its place":
        (folder / "fitment-benchmark.lock").mkdir()
    if lock == "link to elsewhere":
        (folder / "fitment-benchmark.lock").symlink_to(tmp_path / "precious")
    with own_turn(5.0, [folder]) as held:
        assert held is (lock == "folder in its place")  # a folder can be locked as well
    assert not (tmp_path / "precious").exists()


def test_the_next_folder_is_taken_where_the_first_is_denied(tmp_path: Path) -> None:
    with own_turn(5.0, [tmp_path / "nowhere", tmp_path]) as held:
        assert held
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [0]


def test_a_failure_inside_a_turn_comes_out_and_frees_it(tmp_path: Path) -> None:
    def fail() -> None:
        with own_turn(5.0, [tmp_path]):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with own_turn(5.0, [tmp_path]) as held:
        assert held
