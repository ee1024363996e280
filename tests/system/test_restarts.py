"""Whatever is killed resumes where it was, and nothing is lost or sent twice that matters."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.system_fleet import Agent, Headquarters, kill_pid, wait_for
from support.system_portfolio import MODEL, write_toy_portfolio

pytestmark = pytest.mark.system

DEVICES = ("box-1", "box-2", "box-3")


def begin_rollout(
    tmp_path: Path, headquarters: Headquarters, join: Callable[..., Agent]
) -> tuple[str, dict[str, Agent]]:
    """Three devices of one stratum and a rollout that has handed out its first assignment."""
    agents = {id: join(id) for id in DEVICES}
    write_toy_portfolio(tmp_path / "portfolio")
    headquarters.push(tmp_path / "portfolio")
    rollout = headquarters.start_rollout(model=MODEL)
    wait_for(
        lambda: any(headquarters.model(id, MODEL).get("desired") for id in DEVICES),
        "the first assignment",
    )
    return rollout, agents


def assert_all_active(headquarters: Headquarters, rollout: str) -> None:
    found = headquarters.finished(rollout)
    assert found["state"] == "completed", found
    assert found["succeeded_count"] == len(DEVICES)
    for id in DEVICES:
        model = headquarters.model(id, MODEL)
        assert (model["phase"], model["active"], model["in_step"]) == ("active", "fp32", True)
        assert model["latency_p50_seconds"] > 0


def generations(headquarters: Headquarters) -> dict[str, int]:
    return {id: headquarters.model(id, MODEL)["desired_generation"] for id in DEVICES}


def test_a_controller_killed_in_mid_rollout_resumes(
    tmp_path: Path, headquarters: Headquarters, join: Callable[..., Agent]
) -> None:
    """Killed again and again: the rollout ends as if nothing had been, one assignment a device."""
    rollout, agents = begin_rollout(tmp_path, headquarters, join)
    for _ in range(3):
        headquarters.process.kill()
        headquarters.start()
    assert_all_active(headquarters, rollout)
    assert generations(headquarters) == dict.fromkeys(DEVICES, 1), "nothing was assigned twice"
    for id, agent in agents.items():
        log = agent.process.log_file.read_text()
        assert len(re.findall(r"phase.*activating", log)) <= 1, f"{id} activated twice:\n{log}"
        assert headquarters.model(id, MODEL)["bytes_transferred"] > 0


def test_a_controller_killed_between_waves_keeps_what_was_proved(
    tmp_path: Path, headquarters: Headquarters, join: Callable[..., Agent]
) -> None:
    rollout, _ = begin_rollout(tmp_path, headquarters, join)
    proved = wait_for(
        lambda: headquarters.rollout(rollout)["counts"].get("succeeded"), "the canary to be proved"
    )
    headquarters.process.kill()
    headquarters.start()
    assert headquarters.rollout(rollout)["counts"].get("succeeded", 0) >= proved
    assert_all_active(headquarters, rollout)


def broker_process(headquarters: Headquarters) -> psutil.Process:
    """The embedded broker: the one process below the controller that listens on its port."""
    port = int(headquarters.broker_url.rsplit(":", 1)[1])
    for child in psutil.Process(headquarters.process.pid).children(recursive=True):
        if any(c.laddr.port == port for c in child.net_connections() if c.status == "LISTEN"):
            return child
    raise AssertionError("the broker is not running")


def test_a_broker_that_forgets_everything_loses_nothing(
    tmp_path: Path, headquarters: Headquarters, join: Callable[..., Agent]
) -> None:
    """Killed with its whole memory in mid-rollout: all converge, and the desired state is back."""
    rollout, _ = begin_rollout(tmp_path, headquarters, join)
    before = broker_process(headquarters)
    kill_pid(before.pid)
    for stored in (headquarters.data / "broker").rglob("*.db"):
        stored.unlink(missing_ok=True)
    for folder in (headquarters.data / "broker").glob("jetstream*"):
        shutil.rmtree(folder, ignore_errors=True)
    wait_for(lambda: headquarters.online(*DEVICES), "the fleet to come back")
    assert_all_active(headquarters, rollout)
    assert broker_process(headquarters).pid != before.pid


def test_an_agent_that_joins_after_the_broker_forgot_gets_its_desired_state(
    tmp_path: Path, headquarters: Headquarters, join: Callable[..., Agent]
) -> None:
    rollout, agents = begin_rollout(tmp_path, headquarters, join)
    assert_all_active(headquarters, rollout)
    agents["box-1"].process.kill()
    shutil.rmtree(agents["box-1"].state_dir)
    kill_pid(broker_process(headquarters).pid)
    for stored in (headquarters.data / "broker").rglob("*.db"):
        stored.unlink(missing_ok=True)
    agents["box-1"].start()

    def active_again() -> Any:
        return agents["box-1"].pointer(MODEL)

    assert wait_for(active_again, "an emptied device to be given its model again")


def test_the_store_survives_a_stop_and_a_start(
    tmp_path: Path, headquarters: Headquarters, join: Callable[..., Agent]
) -> None:
    rollout, _ = begin_rollout(tmp_path, headquarters, join)
    assert_all_active(headquarters, rollout)
    events = headquarters.api.get("/v1/events", {"limit": 500})["items"]
    headquarters.process.stop()
    headquarters.start()
    assert headquarters.rollout(rollout)["state"] == "completed"
    after = headquarters.api.get("/v1/events", {"limit": 500})["items"]
    assert after[: len(events)] == events
