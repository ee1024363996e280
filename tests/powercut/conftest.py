"""Who may cut the power, and where the recordings lie."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.agent_lab import Artifacts
from support.update_story import Story
from tools.powercut.disk import UnavailableError, prepare


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Hundreds of mounted disks are for those who ask: `make test-powercut`."""
    if "powercut" in str(config.getoption("markexpr")):
        return
    for item in items:
        if item.get_closest_marker("powercut"):
            item.add_marker(pytest.mark.skip(reason="mounts hundreds of disks: make test-powercut"))


@pytest.fixture(scope="session")
def recording() -> None:
    """Where no disk can be recorded, the tests are skipped and say why."""
    try:
        prepare()
    except UnavailableError as error:
        pytest.skip(f"no power cuts here: {error}")


@pytest.fixture
def memory(recording: None) -> Iterator[Path]:
    """A folder in memory where there is one: gigabytes of images pass through it."""
    shared = Path("/dev/shm")
    with_room = shared.is_dir() and shutil.disk_usage(shared).free > 1 << 30
    folder = Path(tempfile.mkdtemp(prefix="powercut-", dir=shared if with_room else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def story() -> Iterator[Story]:
    """What happens to the device, and a server of what it fetches."""
    artifacts = Artifacts()
    found = Story(artifacts.url)
    for content in found.contents.values():
        artifacts.add(content)
    yield found
    artifacts.close()
