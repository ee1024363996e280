"""An application says that it is used: a lock that the kernel takes back, whoever dies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fitment_agent import foreground
from fitment_agent.errors import StorageError
from fitment_agent.foreground import is_in_use, prepare

APPLICATION = """
import sys, time
from fitment_agent import foreground
with foreground(sys.argv[1]):
    print("in front", flush=True)
    time.sleep(600)
"""


def test_it_is_in_use_for_as_long_as_any_application_says_so(tmp_path: Path) -> None:
    prepare(tmp_path)
    assert not is_in_use(tmp_path)
    with foreground(tmp_path):
        with foreground(str(tmp_path)):
            assert is_in_use(tmp_path)
        assert is_in_use(tmp_path)
    assert not is_in_use(tmp_path)


def test_an_application_that_is_killed_is_not_in_use(tmp_path: Path) -> None:
    prepare(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", APPLICATION, str(tmp_path)], stdout=subprocess.PIPE
    ) as application:
        assert application.stdout is not None
        assert application.stdout.readline() == b"in front\n"
        assert is_in_use(tmp_path)
        application.kill()
        application.wait()
    assert not is_in_use(tmp_path)


def test_an_application_that_fails_says_so_no_longer(tmp_path: Path) -> None:
    prepare(tmp_path)
    with pytest.raises(ZeroDivisionError), foreground(tmp_path):
        raise ZeroDivisionError
    assert not is_in_use(tmp_path)


def test_where_no_agent_ever_was_the_application_goes_on(tmp_path: Path) -> None:
    with foreground(tmp_path / "nothing"):
        assert not is_in_use(tmp_path / "nothing")
    prepare(tmp_path / "nothing")  # a state folder that cannot be written is no failure
    assert not (tmp_path / "nothing").exists()


def test_a_lock_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "foreground.lock").symlink_to("foreground.lock")  # refused to root as well
    with pytest.raises(StorageError, match=r"foreground\.lock"), foreground(tmp_path):
        pass
    assert not is_in_use(tmp_path)


def test_any_user_may_read_the_lock_and_only_the_agent_write(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        prepare(tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "foreground.lock").stat().st_mode & 0o777 == 0o644
