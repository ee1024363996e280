"""The command that the README begins with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.system


@pytest.mark.timeout(400)
def test_the_demo_fits_six_devices_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Exit 0, six active devices, at least three variants, every row measured, clean stdout."""
    folder = tmp_path / "demo"
    command = [
        *(sys.executable, "-m", "fitment_controller"),
        *("demo", "-o", "json", "--folder", str(folder)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=380)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["apiVersion"], report["kind"]) == ("fitment/v1", "DemoReport")
    assert len(report["portfolio"]) >= 10
    devices = report["devices"]
    assert len(devices) == 6
    assert len({device["variant"] for device in devices}) >= 3
    assert len({device["region"] for device in devices}) == 3
    for device in devices:
        assert device["phase"] == "active"
        assert device["simulated"] is True
        assert 0.5 < device["accuracy"] <= 1
        assert 0.5 < device["accuracy_local"] <= 1
        assert 0 < device["latency_p50_seconds"] <= device["latency_p95_seconds"]
        assert device["bytes_transferred"] > 0
        assert len(device["digest"]) == 64
        assert device["reasons"]
    assert report["rollout"]["state"] == "completed"
    assert "6/6" in done.stderr
    left = [p for p in psutil.process_iter(["cmdline"]) if str(folder) in str(p.info["cmdline"])]
    assert not left


def test_an_unknown_example_names_those_that_there_are() -> None:
    command = [sys.executable, "-m", "fitment_controller", "demo", "--example", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "activity" in done.stderr
    assert "fashion" in done.stderr
    assert not done.stdout


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    command = [sys.executable, "-m", "fitment_controller", "demo", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
