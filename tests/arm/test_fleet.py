"""The agent on emulated boards, against a controller on the host: join, prove, activate, go back.

What runs is the installed wheel, under the instructions of the board's processor. Emulated times
rank nothing, and nothing here looks at one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.arm_fleet import ROLLOUT_SECONDS, EmulatedAgent, Fleet
from support.arm_models import save_int8, save_tflite
from support.system_fleet import wait_for
from support.system_portfolio import MODEL, Build, save_collapsed, write_toy_portfolio
from tools.arm.boards import BOARDS

pytestmark = [pytest.mark.arm, pytest.mark.timeout(900)]

CLASSES = {"pi4": "pi-4", "pi5": "pi-5", "pi02w": "pi-zero-2"}
RUNTIMES = {"pi4": "onnxruntime", "pi5": "onnxruntime", "pi02w": "litert"}


@pytest.fixture(scope="module")
def first_rollout(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """To all boards: fp32 and int8 for onnxruntime, and the same model as .tflite."""
    folder = tmp_path_factory.mktemp("first")
    builds = {
        "int8": Build(save_int8(folder / "int8.onnx"), 5e-4, own_golden=True, precision="int8"),
        "tflite": Build(save_tflite(folder / "toy.tflite"), 2e-3, runtime="litert"),
    }
    write_toy_portfolio(folder / "portfolio", builds)
    fleet.headquarters.push(folder / "portfolio")
    rollout = fleet.headquarters.start_rollout(model=MODEL)
    return fleet.headquarters.finished(rollout, ROLLOUT_SECONDS)


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_joins_as_its_class(fleet: Fleet, board: str) -> None:
    device = fleet.headquarters.device(board)
    hardware = device["facts"]["hardware"]
    assert device["device_class"] == CLASSES[board]
    assert hardware["board"] == BOARDS[board].model
    assert hardware["architecture"] == ("armv7l" if board == "pi02w" else "aarch64")
    assert hardware["memory_bytes"] == BOARDS[board].memory_kibibytes * 1024
    assert ("asimddp" in hardware["isa"]) == (board == "pi5")


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_has_the_runtime_that_its_processor_has_wheels_of(fleet: Fleet, board: str) -> None:
    runtimes = fleet.headquarters.device(board)["facts"]["runtimes"]
    assert [runtime["name"] for runtime in runtimes] == [RUNTIMES[board]]


@pytest.mark.parametrize("board", BOARDS)
def test_an_emulated_board_says_so(fleet: Fleet, board: str) -> None:
    device = fleet.headquarters.device(board)
    assert device["facts"]["labels"]["emulated"] == "true"
    assert device["simulated"]


def test_what_a_board_would_report_can_be_seen_on_it(fleet: Fleet) -> None:
    """On the one without psutil, where every fact comes from a file."""
    agent = fleet.agents["pi02w"]
    done = agent.cli("probe", "--output", "json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)["facts"]
    reported = fleet.headquarters.device("pi02w")["facts"]
    for part in ("hardware", "os", "runtimes"):
        assert shown[part] == reported[part]


def test_a_rollout_reaches_every_board(fleet: Fleet, first_rollout: dict[str, Any]) -> None:
    assert first_rollout["state"] == "completed", first_rollout
    for board, agent in fleet.agents.items():
        pointer = agent.pointer(MODEL)
        assert pointer is not None
        assert pointer["runtime"] == RUNTIMES[board]
        found = fleet.headquarters.model(board, MODEL)
        assert found["phase"] == "active"
        assert found["active_digest"] == pointer["digest"]
        assert found["accuracy"] > 0.95


def test_the_board_without_onnxruntime_gets_the_tflite_variant(
    fleet: Fleet, first_rollout: dict[str, Any]
) -> None:
    assert fleet.headquarters.model("pi02w", MODEL)["active"] == "tflite"
    why = fleet.headquarters.api.get("/v1/devices/pi02w/why", {"model": MODEL})
    reasons = {verdict["variant"]: verdict["reason"] for verdict in why["verdicts"]}
    assert reasons["fp32"] == reasons["int8"] == "the device has no onnxruntime"


@pytest.mark.parametrize("board", BOARDS)
def test_emulated_times_rank_nothing(
    fleet: Fleet, first_rollout: dict[str, Any], board: str
) -> None:
    """Whatever the board measured, its variants are still ranked by what was known before."""
    assert fleet.headquarters.model(board, MODEL)["latency_p95_seconds"] > 0
    why = fleet.headquarters.api.get(f"/v1/devices/{board}/why", {"model": MODEL})
    sources = {verdict["numbers"]["latency_p95_seconds"]["source"] for verdict in why["verdicts"]}
    assert sources <= {"predicted", "build-host"}


def test_a_variant_that_lost_its_accuracy_is_taken_back(
    fleet: Fleet, first_rollout: dict[str, Any], tmp_path: Path
) -> None:
    agent = fleet.agents["pi5"]
    before = _variant(agent)
    bad = Build(save_collapsed(tmp_path / "bad.onnx"), p50_seconds=1e-4, own_golden=True)
    write_toy_portfolio(tmp_path / "portfolio", {"bad": bad}, version=2)
    fleet.headquarters.push(tmp_path / "portfolio")
    request = {"model": MODEL, "variant": "bad", "devices": {"ids": ["pi5"]}}
    rollout = fleet.headquarters.start_rollout(**request)
    ended = fleet.headquarters.finished(rollout, ROLLOUT_SECONDS)
    assert ended["state"] == "failed", ended
    wait_for(lambda: _variant(agent) == before, f"{before} to be back", ROLLOUT_SECONDS)


def test_a_person_on_a_board_takes_an_update_back(
    fleet: Fleet, first_rollout: dict[str, Any]
) -> None:
    agent = fleet.agents["pi4"]
    before = _variant(agent)
    other = "fp32" if before == "int8" else "int8"
    request = {"model": MODEL, "model_version": 1, "variant": other, "devices": {"ids": ["pi4"]}}
    rollout = fleet.headquarters.finished(
        fleet.headquarters.start_rollout(**request), ROLLOUT_SECONDS
    )
    assert rollout["state"] == "completed", rollout
    assert _variant(agent) == other
    done = agent.cli("rollback", MODEL)
    assert done.returncode == 0, done.stderr
    assert _variant(agent) == before
    wait_for(
        lambda: fleet.headquarters.model("pi4", MODEL)["phase"] == "rolled_back",
        "the controller to hear of it",
        ROLLOUT_SECONDS,
    )


def _variant(agent: EmulatedAgent) -> str | None:
    pointer = agent.pointer(MODEL)
    return str(pointer["variant"]) if pointer else None
