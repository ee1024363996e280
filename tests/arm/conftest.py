"""What the emulated devices share: made once, because it takes a minute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from support.arm_fleet import Fleet, running_fleet
from tools.arm.boards import BOARDS
from tools.arm.device import System, build_device, build_system
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
def systems(emulation: None, cache: Path) -> Mapping[str, System]:
    """By architecture, with the project installed from its wheel as it is now."""
    wheel = build_wheel(_REPOSITORY, cache / "wheel")
    architectures = sorted({board.architecture for board in BOARDS.values()})
    return {name: build_system(name, wheel, cache) for name in architectures}


@pytest.fixture(scope="session")
def fleet(
    systems: Mapping[str, System], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """The three boards, joined to a controller on the host."""
    folder = tmp_path_factory.mktemp("fleet")
    devices = {
        name: build_device(board, systems[board.architecture], folder / name)
        for name, board in BOARDS.items()
    }
    with running_fleet(folder, devices) as found:
        yield found
