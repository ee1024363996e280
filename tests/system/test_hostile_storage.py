"""Storage that is full at any write, or refuses them all: when it gets well, so does the agent.

What the agent writes is written for real, on a file system that has room for so many pages and no
more: each number of pages makes another write the first that fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fitment_agent.errors import AgentError
from fitment_agent.state import AgentState
from support.agent_lab import Artifacts
from support.hostile_disk import PAGE_BYTES, HostileDisk, hostile_disk
from support.powercut_check import check_files, check_variants
from support.update_story import Step, Story, asked_again, opened, perform, resume, settle

ROOMY_BYTES = 64 << 20
FIRST_STEPS = 2
RESTARTS = {"it goes on": False, "it was started anew": True}


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    artifacts = Artifacts()
    found = Story(artifacts.url, size_bytes=3 * PAGE_BYTES)
    for content in found.contents.values():
        artifacts.add(content)
    yield found
    artifacts.close()


def pages_of(steps: Sequence[Step], folder: Path) -> int:
    """How much room the steps take at their widest."""
    widest = 0
    with opened(folder) as state:
        for step in steps:
            perform(state, step)
            files = [path for path in folder.rglob("*") if path.is_file()]
            pages = sum(-(-path.stat().st_size // PAGE_BYTES) for path in files)
            widest = max(widest, pages)
    return widest


def failures(state: AgentState) -> int:
    return sum(deployment.failure is not None for deployment in state.deployments.values())


def live_with(disk: HostileDisk, steps: Sequence[Step], restarts: bool) -> int:
    """Live the steps on a disk that is too small, give it room, and see it end well.

    Returns:
        How often something was refused, or failed.
    """
    state_dir, again = disk.folder / "state", asked_again(steps)
    with opened(state_dir) as state:
        refused = int(state.journal.volatile)
        for step in steps:
            try:
                perform(state, step)
            except AgentError:
                refused += 1
            refused += failures(state)
            check_files(state_dir, state)
        if not restarts:
            disk.resize(ROOMY_BYTES)
            state.reconcile()
            settle(state)
            perform(state, again)
            check_variants(state, again)
            return refused
    disk.resize(ROOMY_BYTES)
    with opened(state_dir) as state:
        assert not state.journal.volatile
        resume(state)
        settle(state)
        check_files(state_dir, state)
        perform(state, again)
        check_variants(state, again)
    return refused


@pytest.mark.parametrize("restarts", RESTARTS.values(), ids=RESTARTS)
@pytest.mark.parametrize(
    "count",
    [
        pytest.param(FIRST_STEPS, id="first steps"),
        pytest.param(None, id="all", marks=[pytest.mark.soak, pytest.mark.timeout(1800)]),
    ],
)
def test_a_disk_that_is_full_at_any_write_needs_room_and_nothing_else(
    tmp_path: Path, story: Story, count: int | None, restarts: bool
) -> None:
    steps = story.steps[:count]
    widest = pages_of(steps, tmp_path / "roomy")
    with hostile_disk(tmp_path / "disk", ROOMY_BYTES) as disk:
        meant = live_with(disk, steps, restarts)  # what the story itself takes back counts too
    for pages in range(1, 2 * widest):  # files that come and go take a little more than is left
        with hostile_disk(tmp_path / "disk", pages * PAGE_BYTES) as disk:
            refused = live_with(disk, steps, restarts)
        if refused <= meant:
            break
    assert refused <= meant, "the larger disk was to be large enough"
    assert pages >= widest, "each smaller disk was to be too small for something"
