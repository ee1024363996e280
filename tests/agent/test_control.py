"""One agent per state folder, as others see it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fitment_agent.control import RunLock, running_agent

NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_sees_that_the_agent_runs(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    lock = RunLock(tmp_path, "pi-5")
    lock.acquire()
    os.seteuid(NOBODY)
    try:
        found = running_agent(tmp_path)
    finally:
        os.seteuid(0)
        lock.release()
    assert found is not None
    assert (found.pid, found.device_id) == (os.getpid(), "pi-5")
