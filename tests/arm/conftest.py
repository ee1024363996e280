"""What the emulated devices share: made once, because it takes a minute."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.arm_fleet import Fleet, running_fleet
from tools.arm.boards import BOARDS
from tools.arm.device import build_device
from tools.arm.host import UnavailableError, prepare
from tools.arm.packages import build_wheel

_REPOSITORY = Path(__file__).parents[2]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Minutes of emulation are for those who ask: `make test-arm`."""
    if "arm" in str(config.getoption("markexpr")):
        return
    for item in items:
        if item.get_closest_marker("arm"):
            item.add_marker(pytest.mark.skip(reason="emulates ARM for minutes: make test-arm"))


@pytest.fixture(scope="session")
def cache() -> Path:
    """Root file systems and packages from one run to the next."""
    folder = _REPOSITORY / ".cache" / "arm"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def emulation() -> None:
    """The emulators, registered; where that cannot be, the tests are skipped and say why."""
    try:
        prepare()
    except UnavailableError as error:
        pytest.skip(f"no emulated ARM here: {error}")


@pytest.fixture(scope="session")
def wheel(cache: Path) -> Path:
    """The wheel of the project as it is now."""
    return build_wheel(_REPOSITORY, cache / "wheel")


@pytest.fixture(scope="session")
def fleet(
    emulation: None, cache: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """The three boards, joined to a controller on the host."""
    folder = tmp_path_factory.mktemp("fleet")
    devices = {
        name: build_device(board, wheel, cache, folder / name) for name, board in BOARDS.items()
    }
    with running_fleet(folder, devices) as found:
        yield found
