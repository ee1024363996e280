"""The command line against a running controller: data, messages and exit statuses."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from fitment_controller.broker.base import BrokerEndpoint
from fitment_controller.broker.probe import free_port
from support.edge_device import ScriptedDevice
from support.edge_mqtt import wait_for
from support.edge_portfolio import write_portfolio
from support.edge_process import COMMAND, UpProcess, environment, fitment

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpProcess]:
    """Its devices are scripted and say nothing by themselves, so silence means nothing here."""
    with UpProcess(tmp_path_factory.mktemp("up") / "data", "--lease-seconds", "600") as up:
        yield up


@pytest.fixture(scope="module")
def fleet(up: UpProcess) -> Iterator[dict[str, ScriptedDevice]]:
    """Two devices that prove what they get, and one on which everything fails."""
    endpoint = BrokerEndpoint(up.ready["broker_url"])
    with ExitStack() as stack:
        devices = {
            id: stack.enter_context(ScriptedDevice(endpoint, id, fails=fails))
            for id, fails in [
                ("good-1", lambda assignment: False),
                ("good-2", lambda assignment: False),
                ("bad-1", lambda assignment: True),
            ]
        }
        wait_for(lambda: len(items(up, "device", "list")) == 3, "registration")
        yield devices


@pytest.fixture(scope="module")
def model(up: UpProcess, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("portfolio") / "activity"
    write_portfolio(folder)
    done = run(up, "model", "push", str(folder))
    assert done.returncode == 0, done.stderr
    assert "uploaded" in done.stderr
    return "activity"


def run(up: UpProcess, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return fitment(*arguments, FITMENT_DATA=str(up.data), **variables)


def document(up: UpProcess, *arguments: str) -> dict[str, Any]:
    done = run(up, *arguments, "-o", "json")
    assert done.returncode == 0, done.stderr
    parsed: dict[str, Any] = json.loads(done.stdout)
    assert parsed["apiVersion"] == "fitment/v1"
    return parsed


def items(up: UpProcess, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = document(up, *arguments)["items"]
    return found


def test_help_lists_the_commands_and_needs_no_controller() -> None:
    done = fitment("--help")
    assert done.returncode == 0
    for command in ("up", "status", "device", "model", "profile", "plan", "rollout", "event"):
        assert f"  {command} " in done.stdout
    for noun in ("device", "model", "profile", "rollout", "event"):
        assert fitment(noun, "-h").returncode == 0


def test_client_commands_do_not_load_the_server() -> None:
    heavy = ("sqlalchemy", "starlette", "uvicorn", "paho", "alembic", "onnx", "numpy")
    script = (
        "import sys; from fitment_controller.cli.app import app\n"
        "try: app(['status', '--url', 'http://127.0.0.1:1'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [COMMAND[0], "-c", script], capture_output=True, text=True, env=environment()
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("poetry",), 2),
        (("device", "get"), 2),
        (("device", "list", "-o", "poem"), 2),
        (("device", "list", "-l", "colour=red"), 2),
        (("rollout", "start"), 2),
        (("rollout", "start", "--model", "activity@x"), 2),
        (("model", "push", "/nonexistent"), 2),
        (("model", "get", "activity@x"), 2),
        (("device", "get", "nobody"), 3),
        (("device", "why", "nobody", "--model", "activity"), 3),
        (("model", "get", "poetry"), 3),
        (("rollout", "get", "none"), 3),
        (("rollout", "explain", "none"), 3),
        (("profile", "get", "none"), 3),
        (("plan", "--model", "poetry"), 3),
    ],
)
def test_what_goes_wrong_has_its_exit_status(
    up: UpProcess, arguments: tuple[str, ...], status: int
) -> None:
    done = run(up, *arguments)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip()) > 10


def test_no_controller_is_status_6_with_the_next_step(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    for where in ({"FITMENT_URL": url}, {"FITMENT_DATA": str(tmp_path), "FITMENT_URL": url}):
        done = fitment("status", **where)
        assert done.returncode == 6
        assert "fitment up" in done.stderr
    assert fitment("status", "--url", "ftp://x").returncode == 6


def test_the_controller_is_found_by_flag_variable_or_data(up: UpProcess, tmp_path: Path) -> None:
    url = str(up.ready["url"])
    assert fitment("status", "--url", url).returncode == 0
    assert fitment("status", FITMENT_URL=url).returncode == 0
    assert fitment("status", "--data", str(up.data)).returncode == 0
    wrong = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    assert fitment("status", "--url", url, FITMENT_URL=wrong).returncode == 0, "flags win"


def test_every_format_of_a_list(up: UpProcess, fleet: dict[str, ScriptedDevice]) -> None:
    parsed = document(up, "device", "list")
    assert parsed["kind"] == "DeviceList"
    assert sorted(item["id"] for item in parsed["items"]) == sorted(fleet)
    names = run(up, "device", "list", "-o", "name").stdout.split()
    assert sorted(names) == sorted(fleet)
    lines = run(up, "device", "list", "-o", "jsonl").stdout.splitlines()
    assert sorted(json.loads(line)["id"] for line in lines) == sorted(fleet)
    as_yaml = yaml.safe_load(run(up, "device", "list", "-o", "yaml").stdout)
    assert sorted(item["id"] for item in as_yaml["items"]) == sorted(fleet)
    table = run(up, "device", "list").stdout
    assert table.splitlines()[0].split()[:2] == ["DEVICE", "CLASS"]
    assert "(simulated)" in table
    assert "\x1b" not in table


def test_selectors_narrow_the_list(up: UpProcess, fleet: dict[str, ScriptedDevice]) -> None:
    assert items(up, "device", "list", "-l", "region=mars") == []
    assert len(items(up, "device", "list", "-l", "online=true,label.site=greenhouse")) == 3
    assert [row["id"] for row in items(up, "device", "list", "-l", "id=good-1")] == ["good-1"]
    done = run(up, "device", "list", "-l", "region=mars")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1, "an empty table is its titles"


def test_why_shows_every_candidate_with_rule_number_and_limit(
    up: UpProcess, fleet: dict[str, ScriptedDevice], model: str
) -> None:
    selection = document(up, "device", "why", "good-1", "--model", model)
    assert {verdict["variant"] for verdict in selection["verdicts"]} == {"fp32", "int8"}
    table = run(up, "device", "why", "good-1").stdout
    for word in ("VERDICT", "RULE", "NUMBER", "LIMIT", "SOURCE", "fp32", "int8", "chosen"):
        assert word in table


def test_a_second_push_uploads_nothing(up: UpProcess, model: str, tmp_path: Path) -> None:
    write_portfolio(tmp_path / "again")
    done = run(up, "model", "push", str(tmp_path / "again"))
    assert done.returncode == 0, done.stderr
    assert "uploaded" not in done.stderr
    assert {row["name"] for row in items(up, "model", "list")} == {model}
    page = run(up, "model", "get", model).stdout
    for word in ("fp32", "int8", "int4", "no MatMul to quantise"):
        assert word in page


def test_an_incomplete_portfolio_is_named(up: UpProcess, tmp_path: Path) -> None:
    write_portfolio(tmp_path / "broken", "broken")
    for blob in (tmp_path / "broken" / "blobs").iterdir():
        blob.unlink()
    done = run(up, "model", "push", str(tmp_path / "broken"))
    assert done.returncode == 2
    assert "lacks the blob" in done.stderr


def test_a_plan_changes_nothing(
    up: UpProcess, fleet: dict[str, ScriptedDevice], model: str
) -> None:
    before = items(up, "rollout", "list")
    plan = document(up, "plan", "--model", model, "-l", "id=good-1,id=good-2")
    assert {device["device"] for device in plan["devices"]} == {"good-1", "good-2"}
    dry = run(up, "rollout", "start", "--model", model, "--dry-run", "-o", "json")
    assert dry.returncode == 0, dry.stderr
    assert json.loads(dry.stdout)["kind"] == "Plan"
    assert items(up, "rollout", "list") == before
    refused = run(up, "plan", "--model", model, "-l", "id=nobody")
    assert refused.returncode == 5
    assert "cannot be started" in refused.stderr


def test_a_plan_shows_the_second_variant_and_its_bytes_and_who_gets_none(
    up: UpProcess, fleet: dict[str, ScriptedDevice], model: str, tmp_path: Path
) -> None:
    where = ("--model", model, "-l", "id=good-1")
    limits = ("--below-charge", "0.3", "--above-temperature", "70")
    shown = run(up, "plan", *where, "--variant", "fp32", "--low-power-variant", "int8", *limits)
    assert shown.returncode == 0, shown.stderr
    (line,) = [line for line in shown.stdout.splitlines() if "below 30.0 % charge" in line]
    assert line.split()[:2] == ["good-1", "int8"]
    assert "above 70 °C" in line
    none = run(up, "plan", *where, "--variant", "int8", "--low-power-variant", "int4", *limits)
    assert (none.returncode, "no variant 'int4'" in none.stderr) == (5, True)

    request = tmp_path / "rollout.yaml"
    request.write_text(
        f"model: {model}\nvariant: fp32\nlow_power:\n  variant: fp32\n  below_charge_ratio: 0.2\n"
    )
    objective = ("--low-power-objective", "frugal")
    planned = document(up, "plan", "-f", str(request), "-l", "id=good-1", *objective)
    (device,) = planned["devices"]
    second = device["after"]["low_power"]
    assert (second["variant"], second["below_charge_ratio"]) == ("int8", 0.2), "a flag wins"
    assert 0 < device["low_power_link_bytes"] < device["link_bytes"]
    vague = run(up, "plan", *where, "--low-power-variant", "int8")
    assert vague.returncode == 2
    assert "below which charge or above which temperature" in vague.stderr


def test_a_rollout_waits_for_its_end_one_line_per_change(
    up: UpProcess, fleet: dict[str, ScriptedDevice], model: str, tmp_path: Path
) -> None:
    request = tmp_path / "rollout.yaml"
    request.write_text(f"model: {model}\nobjective: balanced\ndevices:\n  ids: [good-1]\n")
    done = run(up, "rollout", "start", "-f", str(request), "--wait", "--timeout", "60")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("rollout  completed") or any(
        line.startswith("rollout  completed") for line in lines
    )
    assert len(lines) == len(set(lines)), "a line is printed when something changed"
    id = done.stderr.split("started rollout ")[1].split()[0]
    again = run(up, "rollout", "get", id, "--watch", "-o", "json")
    assert again.returncode == 0
    assert [json.loads(line)["state"] for line in again.stdout.splitlines()] == ["completed"]
    assert run(up, "rollout", "resume", id).returncode == 5
    assert run(up, "device", "get", "good-1").stdout.count("active") >= 1


def test_a_device_measures_and_the_result_is_waited_for(
    up: UpProcess, fleet: dict[str, ScriptedDevice], model: str
) -> None:
    run(up, "rollout", "start", "-m", model, "-l", "id=good-2", "-w", "--timeout", "60")
    quick = run(up, "device", "benchmark", "good-2")
    assert (quick.returncode, quick.stdout) == (0, "")
    assert f"asked good-2 for a quick benchmark of {model}" in quick.stderr
    full = run(up, "device", "benchmark", "good-2", model, "--full", "--wait", "--timeout", "60")
    assert full.returncode == 0, full.stderr
    for words in (
        "812.0 per second over 60 s; at its end 97.0 % of the speed at its start",
        "12.30 mJ per inference by ina3221 VDD_IN (5.10 W busy, 2.20 W idle)",
        "valid",
    ):
        assert words in full.stdout
    page = run(up, "device", "get", "good-2").stdout
    assert "97.0 %" in page
    assert "benchmark-requested" in page

    fleet["good-2"].unsteady.add(model)
    spoilt = run(up, "device", "benchmark", "good-2", "-w", "--timeout", "60", "-o", "json")
    assert spoilt.returncode == 1
    assert "it proves nothing: the governor changed" in spoilt.stderr
    found = json.loads(spoilt.stdout)
    assert (found["kind"], found["usable"], found["attempts"]) == ("Benchmark", False, 3)
    assert "invalid: the governor changed" in run(up, "device", "get", "good-2").stdout
    assert run(up, "device", "benchmark", "bad-1", "-w").returncode == 5, "it runs nothing"
    assert run(up, "device", "benchmark", "nobody").returncode == 3


def test_a_failed_gate_is_status_7_and_is_explained(
    up: UpProcess, fleet: dict[str, ScriptedDevice], model: str
) -> None:
    done = run(up, "rollout", "start", "-m", model, "-l", "id=bad-1", "-w", "--timeout", "60")
    assert done.returncode == 7, done.stdout + done.stderr
    id = done.stderr.split("started rollout ")[1].split()[0]
    assert f"fitment rollout explain {id}" in done.stderr
    explained = document(up, "rollout", "explain", id)
    assert explained["state"] == "failed"
    assert any(gate["verdict"] == "fail" for gate in explained["gates"])
    assert [member["device"] for member in explained["failed"]] == ["bad-1"]
    table = run(up, "rollout", "explain", id).stdout
    for word in ("THRESHOLD", "VALUE", "bad-1"):
        assert word in table
    assert "golden_mismatch" in run(up, "device", "get", "bad-1").stdout


def test_pause_timeout_resume_and_abort(up: UpProcess, model: str) -> None:
    with ScriptedDevice(BrokerEndpoint(up.ready["broker_url"]), "mute-1", mute=True):
        wait_for(lambda: run(up, "device", "get", "mute-1").returncode == 0, "registration")
        selected = ("--variant", "fp32", "-l", "id=mute-1")
        id = run(up, "rollout", "start", "-m", model, *selected, "-o", "name").stdout.strip()
        assert run(up, "rollout", "pause", id).returncode == 0
        waited = run(up, "rollout", "get", id, "--watch", "--timeout", "0.1")
        assert waited.returncode == 8
        assert f"fitment rollout explain {id}" in waited.stderr
        assert document(up, "rollout", "get", id)["state"] == "paused"
        assert run(up, "rollout", "resume", id).returncode == 0
        assert document(up, "rollout", "get", id)["state"] == "running"
        assert run(up, "rollout", "abort", id, "--revert", "-y").returncode == 0
        assert document(up, "rollout", "get", id)["state"] in ("aborting", "aborted")


def test_the_log_is_json_lines_for_programs(
    up: UpProcess, fleet: dict[str, ScriptedDevice]
) -> None:
    done = run(up, "event", "tail", "-n", "5", "-o", "jsonl")
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    assert 0 < len(entries) <= 5
    ids = [entry["id"] for entry in entries]
    assert ids == sorted(ids)
    assert items(up, "event", "tail", "-n", "0") == []
    about = run(up, "event", "tail", "--device", "good-1", "-o", "jsonl").stdout.splitlines()
    assert {json.loads(line)["device"] for line in about} == {"good-1"}


def test_following_the_log_ends_quietly_when_the_reader_goes(
    up: UpProcess, fleet: dict[str, ScriptedDevice]
) -> None:
    follow = subprocess.Popen(
        [*COMMAND, "event", "tail", "-f", "-o", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(FITMENT_DATA=str(up.data)),
    )
    assert follow.stdout is not None
    assert follow.stderr is not None
    assert json.loads(follow.stdout.readline())["id"] > 0
    follow.stdout.close()
    endpoint = BrokerEndpoint(up.ready["broker_url"])
    for number in range(3):  # each is at least one more line into a pipe that nobody reads
        with ScriptedDevice(endpoint, f"late-{number}"):
            wait_for(
                lambda n=number: run(up, "device", "get", f"late-{n}").returncode == 0,
                "registration",
            )
    assert follow.wait(timeout=60) == 0
    assert follow.stderr.read() == b""
    follow.stderr.close()


def test_a_closed_or_full_stdout_is_no_traceback(
    up: UpProcess, fleet: dict[str, ScriptedDevice]
) -> None:
    command = " ".join(COMMAND)
    for redirection in (">&-", "| true"):
        done = subprocess.run(
            ["bash", "-c", f"{command} device list {redirection}"],
            capture_output=True,
            text=True,
            env=environment(FITMENT_DATA=str(up.data)),
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""


def test_profiles_are_checked_without_a_controller(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(
        "apiVersion: fitment/v1\nkind: Objective\nname: small\ntitle: Small\n"
        "optimise:\n  - by: link_bytes\n    tolerance: 0.1\n"
    )
    bad.write_text(good.read_text().replace("tolerance", "tolerence"))
    assert fitment("profile", "validate", str(good)).returncode == 0
    done = fitment("profile", "validate", str(tmp_path))
    assert done.returncode == 2
    assert f"{bad}:7: " in done.stdout
    parsed = json.loads(fitment("profile", "validate", str(bad), "-o", "json").stdout)
    assert parsed["items"][0]["file"] == str(bad)


def test_profiles_in_force(up: UpProcess) -> None:
    assert "balanced" in run(up, "profile", "get", "-o", "name").stdout.split()
    assert yaml.safe_load(run(up, "profile", "get", "balanced").stdout)["kind"] == "Objective"


def test_a_terminal_gets_colours_unless_it_wants_none(
    up: UpProcess, fleet: dict[str, ScriptedDevice]
) -> None:
    assert "\x1b[3" in on_a_terminal(up, "device", "list")
    assert "\x1b" not in on_a_terminal(up, "device", "list", NO_COLOR="1")
    assert "\x1b" not in on_a_terminal(up, "device", "list", TERM="dumb")
    json.loads(on_a_terminal(up, "device", "list", "-o", "json"))


def test_a_terminal_is_asked_before_devices_change(
    up: UpProcess, fleet: dict[str, ScriptedDevice], model: str
) -> None:
    before = len(items(up, "rollout", "list"))
    answer = on_a_terminal(
        up, "rollout", "start", "-m", model, "--variant", "fp32", "-l", "id=good-1", typed="n\n"
    )
    assert "Change 1 devices in 1 regions" in answer
    assert len(items(up, "rollout", "list")) == before


def on_a_terminal(up: UpProcess, *arguments: str, typed: str = "", **variables: str) -> str:
    """What the command shows on a terminal of its own."""
    ours, theirs = pty.openpty()
    settings = {"TERM": "xterm", "FITMENT_DATA": str(up.data), **variables}
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={
            **{key: text for key, text in environment().items() if key != "NO_COLOR"},
            **settings,
        },
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # the last holder of the other end is gone
            break
        if not chunk:
            break
        shown += chunk
    process.wait(timeout=60)
    os.close(ours)
    return shown.decode()


@pytest.mark.parametrize(
    ("library", "command", "extra"),
    [("starlette", "up", "controller"), ("yaml", "compress", "compress"), ("yaml", "demo", "demo")],
)
def test_a_device_s_installation_says_what_headquarters_needs(
    library: str, command: str, extra: str, tmp_path: Path
) -> None:
    """Only the four base libraries are on a device; the rest is named with the command for it."""
    arguments = {"up": ["--data", str(tmp_path)], "compress": ["m.onnx", "--data", "d.npz"]}
    program = (
        f"import sys; sys.modules[{library!r}] = None\n"  # importing it raises as if it was absent
        f"sys.argv = {['fitment', command, *arguments.get(command, [])]!r}\n"
        "from fitment_controller.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: this command needs the library {library}, which is not installed",
        f"next:  pip install 'fitment[{extra}]'",
    ]


def test_it_says_its_version() -> None:
    assert fitment("--version").stdout.strip() == f"fitment {version('fitment')}"
