"""A card that fails in the middle of work: the kernel makes its file system read-only at once.

That happens to worn SD cards. The device is then restarted, as its watchdog or its owner would.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fitment_contract.phase import Phase
from support.agent_lab import MODEL, Lab, pointer, running_agent, wait_until
from tools.powercut.disk import EXT4, find, mounted, run

pytestmark = [pytest.mark.powercut, pytest.mark.timeout(300)]

DISK_BYTES = 64 * 1024 * 1024


def test_a_file_system_that_turns_read_only_keeps_what_is_in_use_until_the_restart(
    memory: Path, tmp_path: Path
) -> None:
    image = memory / "card"
    image.touch()
    os.truncate(image, DISK_BYTES)
    run(*EXT4.mkfs, image)
    lab = Lab(tmp_path)
    first, second = lab.assignment(features=8), lab.assignment(features=16)
    try:
        with mounted(image, lab.state_dir, EXT4), running_agent(lab.settings()) as agent:
            lab.headquarters.desire(1, first)
            lab.headquarters.await_state(Phase.ACTIVE, 1)
            run("mount", "-o", "remount,abort", lab.state_dir)  # what an I/O error does
            lab.headquarters.desire(2, second)
            wait_until(
                lambda: "storage-failed" in agent.log.read_text(), "the refusal to be noticed"
            )
            assert pointer(lab.state_dir)["digest"] == first.variant.digest
            assert agent.stop() == 0
        # As at every start of a device; 1 is "errors corrected", by e2fsck(8).
        assert subprocess.run([find("e2fsck") or "e2fsck", "-p", image]).returncode in (0, 1)
        with mounted(image, lab.state_dir, EXT4), running_agent(lab.settings()) as agent:
            lab.headquarters.await_state(Phase.ACTIVE, 2)
            assert pointer(lab.state_dir, MODEL)["digest"] == second.variant.digest
            assert agent.stop() == 0
    finally:
        lab.close()
