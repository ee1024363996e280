"""One controller and any number of agents per test, all real processes, all gone at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.system_fleet import Agent, Headquarters, wait_for


@pytest.fixture
def headquarters(tmp_path: Path) -> Iterator[Headquarters]:
    found = Headquarters(tmp_path)
    found.start()
    yield found
    found.process.stop()


@pytest.fixture
def join(tmp_path: Path, headquarters: Headquarters) -> Iterator[Callable[..., Agent]]:
    """Starts an agent and waits until the controller knows it."""
    agents: list[Agent] = []

    def start(id: str, *arguments: str, **options: Path) -> Agent:
        agent = Agent(tmp_path, id, headquarters.broker_url, *arguments, **options)
        agents.append(agent)
        agent.start()
        wait_for(lambda: headquarters.online(id), f"{id} to join")
        return agent

    yield start
    for agent in agents:
        agent.process.stop()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Many minutes under fire are for those who ask: `make test-soak`."""
    if "soak" in str(config.getoption("markexpr")):
        return
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(pytest.mark.skip(reason="goes on for many minutes: make test-soak"))
