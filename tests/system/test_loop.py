"""The loop, end to end: pick, roll out, measure, and pick again by what was measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.system_fleet import Agent, Headquarters, wait_for
from support.system_portfolio import MODEL, Build, save_collapsed, save_slowed, write_toy_portfolio

pytestmark = pytest.mark.system


def test_a_report_changes_what_is_picked_next(
    tmp_path: Path, headquarters: Headquarters, join: Callable[..., Agent]
) -> None:
    """On paper `slow` is a little faster; on the device it is many times slower."""
    slow = Build(
        save_slowed(tmp_path / "slow.onnx", trips=20_000), p50_seconds=8e-4, own_golden=True
    )
    write_toy_portfolio(tmp_path / "portfolio", {"slow": slow})
    agent = join("box")
    headquarters.push(tmp_path / "portfolio")

    first = headquarters.api.get("/v1/devices/box/why", {"model": MODEL})
    assert first["chosen"] == "slow"
    rollout = headquarters.finished(headquarters.start_rollout(model=MODEL))
    assert rollout["state"] == "completed", rollout
    found = headquarters.model("box", MODEL)
    assert found["phase"] == "active"
    assert found["active"] == "slow"
    assert found["latency_p50_seconds"] > 1e-3
    pointer = agent.pointer(MODEL)
    assert pointer is not None
    assert pointer["variant"] == "slow"

    second = headquarters.api.get("/v1/devices/box/why", {"model": MODEL})
    assert second["chosen"] == "fp32"
    numbers = {verdict["variant"]: verdict["numbers"] for verdict in second["verdicts"]}
    assert numbers["slow"]["latency_p95_seconds"]["source"] == "fingerprint"
    rollout = headquarters.finished(headquarters.start_rollout(model=MODEL))
    assert rollout["state"] == "completed", rollout
    assert headquarters.model("box", MODEL)["active"] == "fp32"
    pointer = agent.pointer(MODEL)
    assert pointer is not None
    assert pointer["previous"]["variant"] == "slow"


def test_a_rollout_with_nothing_to_change_says_so(
    tmp_path: Path, headquarters: Headquarters, join: Callable[..., Agent]
) -> None:
    write_toy_portfolio(tmp_path / "portfolio")
    join("box")
    headquarters.push(tmp_path / "portfolio")
    headquarters.finished(headquarters.start_rollout(model=MODEL))
    again = headquarters.cli("plan", "--model", MODEL)
    assert again.returncode == 0, again.stderr
    assert "nothing to change" in again.stderr


def test_a_first_variant_that_fails_its_gate_is_taken_back_to_none(
    tmp_path: Path, headquarters: Headquarters, join: Callable[..., Agent]
) -> None:
    """There is nothing to go back to: the real agent withdraws it and applications find none."""
    bad = Build(save_collapsed(tmp_path / "bad.onnx"), p50_seconds=1e-4, own_golden=True)
    write_toy_portfolio(tmp_path / "portfolio", {"bad": bad})
    agent = join("box")
    headquarters.push(tmp_path / "portfolio")
    rollout = headquarters.finished(headquarters.start_rollout(model=MODEL, variant="bad"))
    assert rollout["state"] == "failed", rollout
    wait_for(lambda: agent.pointer(MODEL) is None, "the pointer to go")
    wait_for(
        lambda: headquarters.model("box", MODEL).get("phase") == "rolled_back", "the device's word"
    )
    assert headquarters.model("box", MODEL)["failure"]["reason"] == "withdrawn"
