"""The power is cut at any moment of the agent's real updates; what was told is still true.

Recorded are fetch, verify, journal and pointers: updates of two models, a packed one among them,
rollbacks by hand and by headquarters, a tuning, and switches to low power and back.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.powercut_check import Corrupt, Lost, check
from support.powercut_workload import SHORTCUTS
from support.update_story import Story
from tools.powercut.disk import (
    EXT4,
    EXT4_WRITEBACK,
    FileSystem,
    RecordedDisk,
    UnavailableError,
    mounted,
)
from tools.powercut.events import Crash, Kind, Loss, crashes

pytestmark = [pytest.mark.powercut, pytest.mark.timeout(600)]

WORKLOAD = Path(__file__).parents[1] / "support" / "powercut_workload.py"
DISK_BYTES = 16 * 1024 * 1024
CUTS, CONTROL_CUTS = 120, 30
SEED = 1


@dataclass
class Outcome:
    """What was found after all cuts.

    Attributes:
        counts: images by verdict.
        examples: the first of each verdict but `ok`, in words.
    """

    cuts: int
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, verdict: str, crash: Crash, why: str) -> None:
        self.counts[verdict] += 1
        if verdict != "ok":
            found = f"cut {crash.cut}, loss of {crash.loss.value}: {why}"
            self.examples.setdefault(verdict, found)


def cut_everywhere(
    folder: Path,
    story: Story,
    file_system: FileSystem,
    count: int,
    losses: Sequence[Loss] = tuple(Loss),
    shortcut: str = "",
) -> Outcome:
    """Record the story once, then find the disk after `count` cuts."""
    disk = RecordedDisk(folder, file_system, DISK_BYTES)
    with disk.mounted():
        command = [sys.executable, WORKLOAD, disk.mount, disk.mark, story.url, shortcut]
        subprocess.run(command[: None if shortcut else -1], check=True)
    events = disk.events()
    known = [json.loads(event.data) for event in events if event.kind is Kind.MARK]
    assert len(known) == len(story.steps)
    chance = random.Random(SEED)
    cuts = set(chance.sample(range(len(events) + 1), min(count, len(events) + 1)))
    # And at the worst moment of all: when it was just told.
    cuts |= {number for number, event in enumerate(events, 1) if event.kind is Kind.MARK}
    outcome = Outcome(len(cuts))
    for crash in crashes(disk.base, events, cuts, losses, chance):
        image = folder / "crashed"
        image.write_bytes(crash.image)
        try:
            with mounted(image, folder / "found", file_system):
                check(folder / "found" / "state", story.steps, known, len(crash.marks))
            outcome.add("ok", crash, "")
        except Corrupt as error:
            outcome.add("corrupt", crash, str(error))
        except Lost as error:
            outcome.add("lost", crash, str(error))
        except UnavailableError as error:
            outcome.add("unmountable", crash, str(error))
    what = shortcut or "as the agent does it"
    found = ", ".join(f"{number} {verdict}" for verdict, number in sorted(outcome.counts.items()))
    print(f"\n{file_system.name}, {what}: {outcome.cuts} cuts of {len(events)} events: {found}")
    return outcome


@pytest.mark.parametrize("file_system", [EXT4, EXT4_WRITEBACK], ids=lambda one: one.name)
def test_nothing_that_was_told_is_lost_and_all_is_whole(
    memory: Path, story: Story, file_system: FileSystem
) -> None:
    outcome = cut_everywhere(memory, story, file_system, CUTS)
    assert outcome.cuts >= 100
    assert set(outcome.counts) == {"ok"}, outcome.examples


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_a_shortcut_is_found_out(memory: Path, story: Story, shortcut: str) -> None:
    """Whatever is left out of the order of durable steps shows: so the test above can fail."""
    losses = [Loss.BLOCKS]
    outcome = cut_everywhere(memory, story, EXT4_WRITEBACK, CONTROL_CUTS, losses, shortcut)
    assert outcome.counts["corrupt"] + outcome.counts["lost"], "no cut found the shortcut out"
