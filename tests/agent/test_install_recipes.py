"""The recipes under `deploy/`: well-formed, and only with flags that there are."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
RECIPES = [
    DEPLOY / "raspberry-pi/user-data",
    *sorted(DEPLOY.glob("*/README.md")),
]


def script(folder: Path) -> Path:
    """What a Raspberry Pi runs at its first start."""
    content = yaml.safe_load((DEPLOY / "raspberry-pi/user-data").read_text())
    (file,) = content["write_files"]
    assert content["runcmd"] == [[file["path"]]]
    path = folder / "join-fleet"
    path.write_text(file["content"])
    return path


def test_user_data_is_what_cloud_init_looks_for(tmp_path: Path) -> None:
    assert (DEPLOY / "raspberry-pi/user-data").read_text().startswith("#cloud-config\n")
    assert script(tmp_path).read_text().startswith("#!/bin/sh\nset -eu\n")


@pytest.mark.parametrize("command", [["sh", "-n"], ["shellcheck"]], ids=lambda it: str(it[0]))
def test_scripts_are_clean_shell(tmp_path: Path, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]}")
    for path in (script(tmp_path), DEPLOY / "termux/fitment-agent-debian"):
        done = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def stub(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("architecture", "wanted"),
    [
        ("arm64", ["venv /opt", "whl[onnx]", "install --systemd"]),
        ("armhf", ["venv --system-site-packages", "whl[tflite]", "install --systemd"]),
    ],
)
def test_the_first_start_of_a_raspberry_pi(
    tmp_path: Path, architecture: str, wanted: list[str]
) -> None:
    """The real script, moved into a folder, over programs that only write down how they are called.

    Those are the package manager's and the clock's, which no test may touch.
    """
    tools, boot, told = tmp_path / "tools", tmp_path / "boot", tmp_path / "told"
    for folder in (tools, boot, tmp_path / "opt/fitment/bin"):
        folder.mkdir(parents=True)
    (boot / "fitment-0.1.0-py3-none-any.whl").touch()
    (boot / "device-token").write_text("s3cret\n")
    stub(tools, "timedatectl", "echo yes")
    stub(tools, "dpkg", f"echo {architecture}")
    stub(tools, "sleep", ":")
    tells = f'echo "$(basename "$0") $*" >> {told}'
    stub(tools, "python3", tells)
    stub(tmp_path / "opt/fitment/bin", "pip", tells)
    stub(tmp_path / "opt/fitment/bin", "fitment-agent", tells)
    path = script(tmp_path)
    text = path.read_text().replace("boot=/boot/firmware", f"boot={boot}")
    path.write_text(text.replace("/opt/fitment/bin", f"{tmp_path}/opt/fitment/bin"))
    subprocess.run(["sh", str(path)], check=True, env={"PATH": f"{tools}:/usr/bin:/bin"})
    calls = told.read_text()
    assert all(words in calls for words in wanted), calls
    assert calls.splitlines()[-1] == "fitment-agent doctor"
    assert not (boot / "device-token").exists(), "anybody can read a card's boot partition"


def test_recipes_use_flags_that_there_are() -> None:
    known = subprocess.run(
        [sys.executable, "-m", "fitment_agent", "install", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200", "PATH": "/usr/bin", "NO_COLOR": "1"},
    ).stdout
    for recipe in RECIPES:
        text = recipe.read_text().replace("\\\n", " ")
        commands = re.findall(r"fitment-agent install [^\n`]*", text)
        assert commands, recipe
        flags = {flag for command in commands for flag in re.findall(r"--[a-z-]+", command)}
        assert [flag for flag in flags if flag not in known] == [], recipe
