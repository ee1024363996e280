"""Whatever is wrong with an update: its exact reason, the previous model, a stop at the canary."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import pytest

from fitment_compress.compress import QUICK, CompressRequest, compress
from support import runtime_models
from support.compress_models import random, save_labelled, save_wide_range
from support.system_fleet import Agent, Headquarters, wait_for
from support.system_portfolio import MODEL, Build, save_collapsed, write_toy_portfolio

pytestmark = pytest.mark.system

DEVICES = ("box-1", "box-2", "box-3")
CARELESS = """
apiVersion: fitment/v1
kind: Objective
name: careless
title: Fast, whatever it costs in accuracy
optimise:
  - {by: latency_p95, tolerance: 0.05}
"""


@dataclass
class Fleet:
    """Three devices of one stratum that run a good model, and the next version's number."""

    folder: Path
    headquarters: Headquarters
    agents: dict[str, Agent]
    version: int = 1

    def offer(self, build: Build) -> int:
        """Push a version whose variant `next` is `build`; returns its number."""
        self.version += 1
        folder = self.folder / f"v{self.version}"
        write_toy_portfolio(folder, {"next": build}, self.version)
        self.headquarters.push(folder)
        return self.version

    def roll_out(self, version: int, variant: str = "next") -> dict[str, object]:
        id = self.headquarters.start_rollout(model=MODEL, model_version=version, variant=variant)
        return self.headquarters.finished(id)

    def blob(self, version: int, variant: str) -> Path:
        """The file that the controller serves for a variant."""
        page = self.headquarters.api.get(f"/v1/models/{MODEL}/{version}")
        digest = next(row["digest"] for row in page["variants"] if row["name"] == variant)
        return self.headquarters.data / "blobs" / digest


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    profiles = folder / "profiles"
    profiles.mkdir()
    (profiles / "careless.yaml").write_text(CARELESS)
    trial = ("--trial-seconds", "0.2", "--trial-limit-seconds", "15")
    headquarters = Headquarters(folder, *trial, "--profiles", str(profiles))
    headquarters.start()
    agents = {id: Agent(folder, id, headquarters.broker_url) for id in DEVICES}
    try:
        for agent in agents.values():
            agent.start()
        wait_for(lambda: headquarters.online(*DEVICES), "the fleet to join")
        write_toy_portfolio(folder / "v1")
        headquarters.push(folder / "v1")
        rollout = headquarters.finished(headquarters.start_rollout(model=MODEL))
        assert rollout["state"] == "completed", rollout
        yield Fleet(folder, headquarters, agents)
    finally:
        for agent in agents.values():
            agent.process.stop()
        headquarters.process.stop()


def add_text(path: Path, text: str) -> None:
    """Other bytes, or many more, that compute the same."""
    model = onnx.load(path)
    model.doc_string = text
    path.write_bytes(model.SerializeToString())


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 7)


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def remove(path: Path) -> None:
    path.unlink()


def assert_stopped_at_the_canary(fleet: Fleet, rollout: dict[str, object], reason: str) -> None:
    """One device tried, said why, and runs what it ran; the others were never touched."""
    assert rollout["state"] == "failed", rollout
    explanation = fleet.headquarters.api.get(f"/v1/rollouts/{rollout['id']}/explain")
    assert [member["failure"] for member in explanation["failed"]] == [reason], explanation
    touched = explanation["failed"][0]["device"]
    for id, agent in fleet.agents.items():
        found = fleet.headquarters.model(id, MODEL)
        assert found["active"] == "fp32"
        assert found["active_version"] == 1
        pointer = agent.pointer(MODEL)
        assert pointer is not None
        assert pointer["model_version"] == 1
        if id != touched:
            assert found["rollout"] != rollout["id"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip_a_byte, "digest_mismatch"),
        (truncate, "truncated"),
        (lengthen, "oversized"),
        (remove, "not_found"),
    ],
)
def test_damaged_bytes(fleet: Fleet, damage: Callable[[Path], None], reason: str) -> None:
    model = runtime_models.save_mlp(fleet.folder / f"{reason}.onnx", 8, 3)
    add_text(model, reason)  # bytes of its own, so that no earlier blob answers for it
    version = fleet.offer(Build(model))
    damage(fleet.blob(version, "next"))
    assert_stopped_at_the_canary(fleet, fleet.roll_out(version), reason)


HOSTILE = [
    ("timed_out", runtime_models.save_hanging),
    ("memory_exceeded", runtime_models.save_memory_eater),
    ("golden_mismatch", save_collapsed),
]
if platform.machine() == "x86_64":  # the crash is a division that traps on x86 only
    HOSTILE.append(("crashed", runtime_models.save_crashing))


@pytest.mark.parametrize(("reason", "save"), HOSTILE)
def test_hostile_models(fleet: Fleet, reason: str, save: Callable[[Path], Path]) -> None:
    version = fleet.offer(Build(save(fleet.folder / f"{reason}.onnx")))
    assert_stopped_at_the_canary(fleet, fleet.roll_out(version), reason)


def test_a_file_that_is_no_model(fleet: Fleet) -> None:
    path = fleet.folder / "noise.onnx"
    path.write_bytes(b"\x08\x07" + b"not a model" * 50)
    version = fleet.offer(Build(path))
    assert_stopped_at_the_canary(fleet, fleet.roll_out(version), "load_failed")


def test_accuracy_that_collapsed_never_passes_a_canary(fleet: Fleet) -> None:
    """The build host claims full accuracy and a tenth of the latency; the device measures ruin."""
    model = save_collapsed(fleet.folder / "collapsed.onnx")
    add_text(model, "unlike the one that failed its golden inputs")
    version = fleet.offer(Build(model, p50_seconds=1e-4, own_golden=True))
    rollout = fleet.roll_out(version)
    assert rollout["state"] == "failed", rollout
    explanation = fleet.headquarters.api.get(f"/v1/rollouts/{rollout['id']}/explain")
    gate = next(gate for gate in explanation["gates"] if gate["name"] == "accuracy-loss")
    assert gate["verdict"] == "fail"
    assert gate["value"] > 0.5 > gate["threshold"]
    assert gate["n"] == 1

    def everyone_back() -> bool:
        found = [fleet.headquarters.model(id, MODEL) for id in DEVICES]
        return all(
            model["active"] == "fp32" and model["active_version"] == 1 and model["in_step"]
            for model in found
        )

    wait_for(everyone_back, "the canary to return to what it ran")
    why = fleet.headquarters.api.get("/v1/devices/box-2/why", {"model": MODEL})
    verdict = next(item for item in why["verdicts"] if item["variant"] == "next")
    assert verdict["outcome"] == "rejected", "its like has measured the collapse"
    assert verdict["rule"] == "accuracy"


def test_quantising_everything_ruins_a_wide_range_model_and_never_passes(fleet: Fleet) -> None:
    """A real collapse from real compression: it loads, agrees with its golden inputs, is fast."""
    model = save_wide_range(fleet.folder / "wide.onnx")
    data = save_labelled(fleet.folder / "wide.npz", model, x=random(5, 400, 3, 8))
    recipes = fleet.folder / "everything.yaml"
    recipes.write_text("recipes:\n- name: everything\n  steps: [{int8-static: {operators: all}}]\n")
    folder = fleet.folder / "wide"
    request = CompressRequest(
        model=model, data=data, output=folder, name="wide", recipes=recipes, effort=QUICK
    )
    assert compress(request).entry("everything") is not None
    headquarters = fleet.headquarters
    headquarters.push(folder)
    assert headquarters.api.get("/v1/devices/box-1/why", {"model": "wide"})["chosen"] == "fp32"
    good = headquarters.finished(headquarters.start_rollout(model="wide"))
    assert good["state"] == "completed", good

    pinned = {"model": "wide", "variant": "everything"}
    refused = headquarters.cli("rollout", "start", "--model", "wide", "--variant", "everything")
    assert refused.returncode == 5, "its floors hold even when it is asked for by name"
    lax = headquarters.finished(
        headquarters.start_rollout(**pinned, objective="careless"),
    )
    assert lax["state"] == "failed", lax
    explanation = headquarters.api.get(f"/v1/rollouts/{lax['id']}/explain")
    gate = next(gate for gate in explanation["gates"] if gate["name"] == "accuracy-loss")
    assert (gate["verdict"], gate["n"]) == ("fail", 1)
    wait_for(
        lambda: all(headquarters.model(id, "wide")["active"] == "fp32" for id in DEVICES),
        "the canary to return",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk(fleet: Fleet) -> None:
    """A device whose disk has no room for the update says so and keeps what it runs."""
    disk = fleet.folder / "small-disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let root mount a tmpfs")
    agent = Agent(
        fleet.folder,
        "small",
        fleet.headquarters.broker_url,
        "x86-box",
        "south-asia",
        state_dir=disk / "state",
    )
    try:
        agent.start()
        wait_for(lambda: fleet.headquarters.online("small"), "the small device to join")
        only = {"ids": ["small"]}
        first = fleet.headquarters.start_rollout(model=MODEL, model_version=1, devices=only)
        assert fleet.headquarters.finished(first)["state"] == "completed"
        (disk / "ballast").write_bytes(b"x" * (31 * 2**20))
        model = runtime_models.save_mlp(fleet.folder / "large.onnx", 8, 3)
        add_text(model, "x" * 4 * 2**20)
        version = fleet.offer(Build(model))
        id = fleet.headquarters.start_rollout(
            model=MODEL, model_version=version, variant="next", devices=only
        )
        rollout = fleet.headquarters.finished(id)
        explanation = fleet.headquarters.api.get(f"/v1/rollouts/{rollout['id']}/explain")
        assert [member["failure"] for member in explanation["failed"]] == ["disk_full"]
        assert fleet.headquarters.model("small", MODEL)["active_version"] == 1
        pointer = agent.pointer(MODEL)
        assert pointer is not None
        assert pointer["model_version"] == 1
    finally:
        agent.process.stop()
        subprocess.run(["umount", "-l", str(disk)], check=False)
