"""The device's command line, through real processes: output, messages and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from fitment_contract.benchmark import BenchmarkReport
from fitment_contract.device import DeviceFacts
from fitment_contract.messages import Birth, DeployConditions
from fitment_contract.phase import Phase
from support.agent_lab import Lab, pointer, running_agent, wait_until
from support.runtime_models import save_mlp

ROOTS = Path(__file__).parent / "roots"


def environment(folder: Path) -> dict[str, str]:
    """Nothing of this machine's configuration."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FITMENT_")}
    return {**kept, "XDG_CONFIG_HOME": str(folder), "NO_COLOR": "1"}


def agent(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "fitment_agent", *arguments],
        capture_output=True,
        text=True,
        env=environment(folder),
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def as_json(done: subprocess.CompletedProcess[str], kind: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(done.stdout)
    assert (content["apiVersion"], content["kind"]) == ("fitment/v1", kind)
    return content


def test_probe_prints_what_would_be_reported(tmp_path: Path) -> None:
    root = str(ROOTS / "pi4")
    content = as_json(agent(tmp_path, "probe", "--root-prefix", root, "-o", "json"), "DeviceFacts")
    facts = DeviceFacts.model_validate(content["facts"])
    assert facts.hardware.soc == "bcm2711"
    assert facts.fingerprint == content["fingerprint"]
    assert "onnxruntime" in {runtime.name for runtime in facts.runtimes}
    table = agent(tmp_path, "probe", "--root-prefix", root).stdout
    assert "bcm2711" in table
    assert "nobody configured it" in table


def test_declared_facts_that_are_wrong_are_wrong_use(tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    file.write_text('{"hardwear": {}}')
    for command in ("probe", "run"):
        done = agent(tmp_path, command, "--facts", str(file), "--state-dir", str(tmp_path), code=2)
        assert "'hardwear'" in done.stderr
        assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "--broker", "mqtt://u:hunter2@h"], 2, "--password-file"),
        (["run", "--broker", "http://h"], 2, "mqtt://HOST:PORT"),
        (["run", "--password-file", "/nowhere"], 2, "password file"),
        (["run", "--config", "/nowhere.json"], 2, "/nowhere.json"),
        (["rollback", "nothing"], 3, "fitment-agent models"),
        (["bench", "nothing"], 3, "neither a file nor a model"),
        (["fly"], 2, "fly"),
    ],
)
def test_errors_name_cause_and_next_step(
    tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    state = [] if arguments[0] == "fly" else ["--state-dir", str(tmp_path / "state")]
    done = agent(tmp_path, *arguments, *state, code=code)
    assert says in done.stderr
    assert "hunter2" not in done.stderr
    assert done.stdout == ""


def test_an_empty_device_is_an_empty_list(tmp_path: Path) -> None:
    state = ["--state-dir", str(tmp_path / "state")]
    assert as_json(agent(tmp_path, "models", *state, "-o", "json"), "ModelList")["items"] == []
    status = as_json(agent(tmp_path, "status", *state, "-o", "json"), "AgentStatus")
    assert (status["running"], status["models"]) == (False, [])
    assert "not running" in agent(tmp_path, "status", *state).stdout


def test_bench_measures_a_file(tmp_path: Path) -> None:
    path = save_mlp(tmp_path / "model.onnx")
    done = agent(tmp_path, "bench", str(path), "--seconds", "0.1", "-o", "json")
    report = BenchmarkReport.model_validate(as_json(done, "BenchmarkReport")["report"])
    assert report.latency.count >= 200
    assert report.runtime == "onnxruntime"


def test_bench_of_a_broken_file_says_why(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model at all")
    done = agent(tmp_path, "bench", str(path), code=1)
    assert "load_failed" in done.stderr or "unsupported" in done.stderr
    (tmp_path / "model.txt").touch()
    assert ".onnx" in agent(tmp_path, "bench", str(tmp_path / "model.txt"), code=3).stderr


# With a daemon


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.close()


@pytest.mark.system
def test_run_becomes_a_daemon_without_the_command_line(lab: Lab, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "fitment_agent", "run"),
            *("--state-dir", str(lab.state_dir), "--broker", lab.broker.url),
            *("--device-id", lab.device, "--label", "site=roof", "--region", "eu-west"),
        ],
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
    )
    try:
        birth = wait_until(lambda: lab.headquarters.all(Birth), "a birth")[0]
        assert birth.facts.labels["site"] == "roof"
        command = Path(f"/proc/{process.pid}/cmdline")
        if command.exists():
            assert b"daemon_main" in command.read_bytes()
        again = agent(
            tmp_path, "run", "--state-dir", str(lab.state_dir), "--broker", lab.broker.url, code=5
        )
        assert "Another agent runs" in again.stderr
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.system
def test_status_models_and_rollback_while_it_runs_and_after(lab: Lab, tmp_path: Path) -> None:
    state = ["--state-dir", str(lab.state_dir)]
    with running_agent(lab.settings()) as daemon:
        for generation, features in enumerate((8, 16, 24), start=1):
            lab.headquarters.desire(generation, lab.assignment(features=features))
            lab.headquarters.await_state(Phase.ACTIVE, generation)
        status = as_json(agent(tmp_path, "status", *state, "-o", "json"), "AgentStatus")
        assert (status["running"], status["pid"]) == (True, daemon.process.pid)
        assert status["device"] == lab.device, "the running agent's name, not this shell's"
        assert status["models"][0]["phase"] == "active"
        items = as_json(agent(tmp_path, "models", *state, "-o", "json"), "ModelList")["items"]
        assert (items[0]["variant"], items[0]["previous"]) == ("fp32-24", "fp32-16")
        assert "fp32-24" in agent(tmp_path, "models", *state).stdout

        done = agent(tmp_path, "rollback", "activity", *state)
        assert "fp32-16" in done.stdout
        told = lab.headquarters.await_state(Phase.ROLLED_BACK, 3)
        assert told.active is not None
        assert told.active.variant == "fp32-16"
        assert "no previous" in agent(tmp_path, "rollback", "activity", *state, code=5).stderr
        assert "fitment-agent models" in agent(tmp_path, "rollback", "x", *state, code=3).stderr
        assert daemon.stop() == 0
    assert pointer(lab.state_dir)["variant"] == "fp32-16"
    assert "withdrawn" in agent(tmp_path, "status", *state).stdout
    assert "no previous" in agent(tmp_path, "rollback", "activity", *state, code=5).stderr
    agent(tmp_path, "bench", "activity", *state, "--seconds", "0.1")


@pytest.mark.system
def test_rollback_stops_what_is_under_way(lab: Lab, tmp_path: Path) -> None:
    held = lab.assignment(conditions=DeployConditions(allow_metered=False))
    with running_agent(lab.settings(metered=True)):
        lab.headquarters.desire(1, held)
        lab.headquarters.await_state(Phase.WAITING, 1)
        done = agent(tmp_path, "rollback", "activity", "--state-dir", str(lab.state_dir))
        assert "None" not in done.stdout
        lab.headquarters.await_state(Phase.ROLLED_BACK, 1)


def test_it_says_its_version(tmp_path: Path) -> None:
    assert agent(tmp_path, "--version").stdout.strip() == f"fitment-agent {version('fitment')}"
