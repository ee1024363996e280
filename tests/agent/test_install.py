"""Installing and uninstalling, for real, in a folder that stands for a device's root."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fitment_agent.errors import SettingsError
from fitment_agent.install import termux
from fitment_agent.install.answers import Answers
from fitment_agent.install.devices import device_drop_in
from fitment_agent.install.errors import InstallError
from fitment_agent.install.machine import Machine
from fitment_agent.install.managers import (
    MANAGERS,
    Manager,
    check_allowed,
    check_possible,
    find_manager,
    installed_manager,
    managers_to_clear,
)
from fitment_agent.install.program import check_plain, check_reachable
from fitment_agent.install.steps import Outcome, install, uninstall
from fitment_agent.settings import load_settings

PROGRAM = "/opt/fitment/bin/fitment-agent"
UNIT = "etc/systemd/system/fitment-agent.service"
MARKS = {
    "systemd": "usr/lib/systemd/systemd",
    "runit": "etc/runit/1",
    "termux": f"{termux.PREFIX[1:]}/bin/sh",
}
BY_NAME = {manager.name: manager for manager in MANAGERS}
NAMES = sorted(BY_NAME)


def device(folder: Path, name: str) -> Machine:
    """A tree that is recognised as run by the manager called `name`."""
    mark = folder / MARKS[name]
    mark.parent.mkdir(parents=True)
    mark.touch()
    return Machine.at(folder)


def answers(folder: Path) -> Answers:
    """What a person says, with a secret beside the tree."""
    secret = folder.parent / f"{folder.name}-token"
    secret.write_text("s3cret\n")
    told = {
        "broker_url": "mqtt://device@hq:18830",
        "password_file": secret,
        "artifact_token_file": secret,
        "region": "eu-west",
    }
    return Answers(PROGRAM, told)


def nothing_said() -> Answers:
    return Answers("", settings=None)


def picture(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file and link below a folder, with mode and content."""
    return {
        str(path.relative_to(folder)): (
            stat.S_IMODE(path.lstat().st_mode),
            os.readlink(path) if path.is_symlink() else path.read_text(),
        )
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


class Recorder:
    """Remembers commands instead of running them; those that begin like `broken` fail."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.broken: str | None = None

    def run(self, command: tuple[str, ...]) -> None:
        line = " ".join(command)
        if self.broken is not None and line.startswith(self.broken):
            raise InstallError(f"`{line}` failed.", "Mend it.")
        self.commands.append(line)


def agent(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "fitment_agent", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_as_a_person_would_with_systemd(tmp_path: Path) -> None:
    root, token = tmp_path / "root", tmp_path / "token"
    device(root, "systemd")
    token.write_text("s3cret\n")
    before = picture(root)
    where = ["--root-prefix", str(root)]
    said = ["--broker", "mqtt://device@hq:18830", "--password-file", str(token), "--label", "a=b"]
    done = agent("install", *where, "--program", PROGRAM, *said)
    assert "written" in done.stdout
    unit = (root / UNIT).read_text()
    assert f"ExecStart={PROGRAM} run --state-dir /var/lib/fitment-agent\n" in unit
    assert "@" not in unit.replace("@system-service", "").replace("~@privileged @keyring", "")[:999]
    wanted = root / "etc/systemd/system/multi-user.target.wants/fitment-agent.service"
    assert str(wanted.readlink()) == f"/{UNIT}"

    settings = load_settings({}, {}, root / "etc/fitment/agent.json")
    assert settings.broker_url == "mqtt://device@hq:18830"
    assert settings.labels == {"a": "b"}
    assert settings.state_dir == Path("/var/lib/fitment-agent")
    assert settings.password_file == Path("/etc/fitment/agent-broker-password")
    secret = root / "etc/fitment/agent-broker-password"
    assert secret.read_text() == "s3cret\n"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o640

    (root / "var/lib/fitment-agent/blobs").mkdir(parents=True)
    (root / "var/lib/fitment-agent/blobs/x").touch()
    done = agent("uninstall", *where, "-o", "json")
    assert json.loads(done.stdout)["managers"] == ["systemd"]
    assert picture(root) == before
    assert not (root / "etc/fitment").exists()
    assert not (root / "var/lib/fitment-agent").exists()
    assert "nothing is installed" in agent("uninstall", *where).stdout


def test_a_dry_run_shows_all_but_secrets_and_changes_nothing(tmp_path: Path) -> None:
    root, token = tmp_path / "root", tmp_path / "token"
    device(root, "systemd")
    token.write_text("s3cret\n")
    before = picture(root)
    said = ["--root-prefix", str(root), "--program", PROGRAM, "--password-file", str(token)]
    shown = agent("install", *said, "--dry-run").stdout
    assert "ProtectSystem=strict" in shown
    assert "s3cret" not in shown
    assert picture(root) == before
    agent("install", *said)
    installed = picture(root)
    assert "removed" in agent("uninstall", "--root-prefix", str(root), "--dry-run").stdout
    assert picture(root) == installed


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--systemd", "--runit"], 2, "exclude each other"),
        (["--label", "site"], 2, "key=value"),
        (["--broker", "http://hq"], 2, "mqtt://HOST:PORT"),
        (["--password-file", "/nowhere"], 1, "--password-file"),
        (["--program", "/opt/my programs/agent"], 1, "plain path"),
        (["--program", "/home/pi/venv/bin/fitment-agent"], 1, "/opt/fitment"),
    ],
)
def test_what_cannot_be_installed_is_refused(
    tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    device(tmp_path, "systemd")
    before = picture(tmp_path)
    default = [] if "--program" in arguments else ["--program", PROGRAM]
    done = agent("install", "--root-prefix", str(tmp_path), *default, *arguments, code=code)
    assert says in done.stderr
    assert picture(tmp_path) == before


def test_an_unknown_system_is_refused_with_the_flags_that_there_are(tmp_path: Path) -> None:
    done = agent("install", "--root-prefix", str(tmp_path), code=1)
    assert "--runit" in done.stderr
    assert "nothing is installed" in agent("uninstall", "--root-prefix", str(tmp_path)).stdout


@pytest.mark.parametrize("name", NAMES)
def test_again_changes_nothing_and_away_leaves_nothing(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    machine = device(root, name)
    before = picture(root)
    assert find_manager(None, machine).name == name
    manager, said = BY_NAME[name], answers(root)
    install(manager.steps(said, machine), machine)
    installed = picture(root)
    assert installed_manager(machine) is manager
    assert manager.is_enabled(machine)
    assert not any(path.endswith(".new") for path in installed)

    outcomes = [one.outcome for one in install(manager.steps(said, machine), machine)]
    assert Outcome.WRITTEN not in outcomes
    assert picture(root) == installed
    secret = next(root.rglob("agent-broker-password"))
    secret.chmod(0o644)
    install(manager.steps(said, machine), machine)
    assert picture(root) == installed, "a secret is closed again"
    kept = Answers(PROGRAM, {})  # run again without a word: what was said stays
    install(manager.steps(kept, machine), machine)
    assert picture(root) == installed

    uninstall(manager.steps(nothing_said(), machine), machine)
    assert picture(root) == before
    assert installed_manager(machine) is None


@pytest.mark.parametrize("name", NAMES)
def test_cut_off_anywhere_it_is_completed_or_removed_by_another_run(
    tmp_path: Path, name: str
) -> None:
    whole = tmp_path / "whole"
    machine = device(whole, name)
    before = picture(whole)
    manager = BY_NAME[name]
    install(manager.steps(answers(whole), machine), machine)
    wanted = picture(whole)
    for cut in range(len(manager.steps(answers(whole), machine)) + 1):
        for ends in (_completed, _removed, _removed_in_two):
            root = tmp_path / f"{cut}-{ends.__name__}"
            part = device(root, name)
            steps = manager.steps(answers(root), part)
            install(steps[:cut], part)
            # What a power cut leaves in the midst of a file.
            half = root / manager_config(name)
            half.parent.mkdir(parents=True, exist_ok=True)
            half.with_name("agent.json.new").write_text("{")
            assert picture(root) != before
            assert ends(manager, root, part) == (wanted if ends is _completed else before), cut


def _completed(manager: Manager, root: Path, machine: Machine) -> dict[str, tuple[int, str]]:
    install(manager.steps(answers(root), machine), machine)
    return picture(root)


def _removed(manager: Manager, root: Path, machine: Machine) -> dict[str, tuple[int, str]]:
    assert manager in managers_to_clear(None, machine)
    uninstall(manager.steps(nothing_said(), machine), machine)
    return picture(root)


def _removed_in_two(manager: Manager, root: Path, machine: Machine) -> dict[str, tuple[int, str]]:
    steps = manager.steps(nothing_said(), machine)
    uninstall(steps[len(steps) // 2 :], machine)  # the first half of the way back
    return _removed(manager, root, machine)


def manager_config(name: str) -> str:
    folder = termux.SETTINGS_FOLDER if name == "termux" else "/etc/fitment"
    return f"{folder[1:]}/agent.json"


@pytest.mark.parametrize("name", NAMES)
def test_what_was_learned_may_be_kept(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    machine, manager = device(root, name), BY_NAME[name]
    install(manager.steps(answers(root), machine), machine)
    state = json.loads((root / manager_config(name)).read_text())["state_dir"]
    (root / state[1:]).mkdir(parents=True)
    (root / state[1:] / "journal.db").touch()
    results = uninstall(
        manager.steps(Answers("", settings=None, keep_state=True), machine), machine
    )
    assert (root / state[1:] / "journal.db").exists()
    assert (root / manager_config(name)).exists()
    assert Outcome.KEPT in [one.outcome for one in results]
    assert installed_manager(machine) is None


def test_a_state_folder_that_is_a_link_loses_the_link_only(tmp_path: Path) -> None:
    root, disk = tmp_path / "root", tmp_path / "disk"
    machine, manager = device(root, "systemd"), BY_NAME["systemd"]
    disk.mkdir()
    (disk / "journal.db").touch()
    (root / "var/lib").mkdir(parents=True)
    (root / "var/lib/fitment-agent").symlink_to(disk)
    uninstall(manager.steps(nothing_said(), machine), machine)
    assert not (root / "var/lib/fitment-agent").is_symlink()
    assert (disk / "journal.db").exists()


def test_what_belongs_to_others_stays(tmp_path: Path) -> None:
    root = tmp_path / "root"
    machine, manager = device(root, "systemd"), BY_NAME["systemd"]
    others = ["etc/fitment/agent.toml", f"{UNIT}.d/override.conf"]
    for path in others:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("# mine\n")
    install(manager.steps(answers(root), machine), machine)
    uninstall(manager.steps(nothing_said(), machine), machine)
    assert all((root / path).exists() for path in others)


def test_settings_that_are_there_stay_unless_said_anew(tmp_path: Path) -> None:
    machine, manager = device(tmp_path / "root", "systemd"), BY_NAME["systemd"]
    config = tmp_path / "root/etc/fitment/agent.json"
    config.parent.mkdir(parents=True)
    config.write_text('{"heartbeat_seconds": 60, "region": "us-east"}')
    install(manager.steps(Answers(PROGRAM, {"region": "eu-west"}), machine), machine)
    content = json.loads(config.read_text())
    assert (content["heartbeat_seconds"], content["region"]) == (60, "eu-west")


@pytest.mark.parametrize("content", ["{", "[]", '{"colour": "red"}', '{"device_id": "a/b"}'])
def test_a_configuration_that_no_agent_would_take_is_refused(tmp_path: Path, content: str) -> None:
    machine, manager = device(tmp_path / "root", "systemd"), BY_NAME["systemd"]
    config = tmp_path / "root/etc/fitment/agent.json"
    config.parent.mkdir(parents=True)
    config.write_text(content)
    with pytest.raises(SettingsError):
        manager.steps(Answers(PROGRAM, {}), machine)
    uninstall(manager.steps(nothing_said(), machine), machine)  # it never stands in the way out
    assert not config.exists()


def test_an_empty_secret_is_refused(tmp_path: Path) -> None:
    machine, manager = device(tmp_path / "root", "systemd"), BY_NAME["systemd"]
    secret = tmp_path / "secret"
    secret.write_text("\n")
    with pytest.raises(InstallError, match="empty"):
        manager.steps(Answers(PROGRAM, {"password_file": secret}), machine)


def live(folder: Path, name: str) -> tuple[Machine, Recorder]:
    """A tree whose services are running, as far as files tell."""
    device(folder, name)
    recorder = Recorder()
    running = {
        "systemd": "/run/systemd/system",
        "runit": "/etc/sv/fitment-agent/supervise/ok",
        "termux": f"{termux.PREFIX}/var/service/fitment-agent/supervise/ok",
    }
    for path in (running[name], PROGRAM):
        (folder / path[1:]).mkdir(parents=True)
    return Machine(folder, recorder), recorder


def test_systemd_makes_the_user_loads_the_unit_and_starts_in_this_order(tmp_path: Path) -> None:
    machine, recorder = live(tmp_path / "root", "systemd")
    manager = BY_NAME["systemd"]
    install(manager.steps(answers(tmp_path / "root"), machine), machine)
    assert recorder.commands == [
        "systemd-sysusers /etc/sysusers.d/fitment-agent.conf",
        "systemd-tmpfiles --create /etc/tmpfiles.d/fitment-agent.conf",
        "systemctl daemon-reload",
        "systemctl restart fitment-agent.service",
    ]
    recorder.commands.clear()
    uninstall(manager.steps(nothing_said(), machine), machine)
    assert recorder.commands == ["systemctl stop fitment-agent.service", "systemctl daemon-reload"]


def test_where_systemd_does_not_run_yet_nobody_speaks_to_it(tmp_path: Path) -> None:
    """As in a chroot, while an image is made: the user is there, the start comes with the boot."""
    machine, recorder = live(tmp_path / "root", "systemd")
    (tmp_path / "root/run/systemd/system").rmdir()
    manager = BY_NAME["systemd"]
    install(manager.steps(answers(tmp_path / "root"), machine), machine)
    assert {command.split()[0] for command in recorder.commands} == {
        "systemd-sysusers",
        "systemd-tmpfiles",
    }
    assert manager.is_enabled(machine)


@pytest.mark.parametrize("name", ["runit", "termux"])
def test_runit_ends_the_service_before_its_scripts_go(tmp_path: Path, name: str) -> None:
    machine, recorder = live(tmp_path / "root", name)
    manager = BY_NAME[name]
    install(manager.steps(answers(tmp_path / "root"), machine), machine)
    assert recorder.commands[-1].split()[3] == "restart"
    assert (recorder.commands[0].startswith("useradd --system")) is (name == "runit")
    recorder.commands.clear()
    uninstall(manager.steps(nothing_said(), machine), machine)
    assert [command.split()[3] for command in recorder.commands] == ["force-shutdown"]
    assert installed_manager(machine) is None


@pytest.mark.parametrize("broken", ["systemd-sysusers", "systemctl daemon", "systemctl restart"])
def test_a_command_that_fails_is_named_and_the_next_run_goes_on(
    tmp_path: Path, broken: str
) -> None:
    machine, recorder = live(tmp_path / "root", "systemd")
    manager, said = BY_NAME["systemd"], answers(tmp_path / "root")
    recorder.broken = broken
    with pytest.raises(InstallError, match=broken):
        install(manager.steps(said, machine), machine)
    recorder.broken = None
    install(manager.steps(said, machine), machine)
    assert recorder.commands[-1] == "systemctl restart fitment-agent.service"
    assert manager.is_enabled(machine)


def test_only_root_changes_services_but_a_phone_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, _ = live(tmp_path / "root", "systemd")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(InstallError, match="sudo fitment-agent install"):
        check_allowed(BY_NAME["systemd"], machine, "fitment-agent install")
    check_allowed(BY_NAME["termux"], machine, "fitment-agent install")
    check_allowed(BY_NAME["systemd"], Machine(tmp_path), "fitment-agent install")


def test_a_program_that_is_not_there_is_not_installed(tmp_path: Path) -> None:
    machine, _ = live(tmp_path / "root", "systemd")
    check_possible(BY_NAME["systemd"], Answers(PROGRAM), machine, "")
    with pytest.raises(InstallError, match="/opt/other"):
        check_possible(BY_NAME["systemd"], Answers("/opt/other/fitment-agent"), machine, "")


@pytest.mark.parametrize("program", ["relative/agent", "/a b", "/a%n", "/a$b", "/a\nExecStart=/x"])
def test_paths_that_a_unit_would_take_apart_are_refused(program: str) -> None:
    with pytest.raises(InstallError):
        check_plain(program)


def test_programs_in_homes_are_refused() -> None:
    check_reachable(PROGRAM)
    for program in ("/home/pi/.venv/bin/fitment-agent", "/root/venv/bin/fitment-agent"):
        with pytest.raises(InstallError, match="home"):
            check_reachable(program)


def nodes(root: Path, *names: str) -> None:
    for name in names:
        (root / "dev" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "dev" / name).touch()


def test_a_jetson_lets_its_gpu_through(tmp_path: Path) -> None:
    nodes(tmp_path, "nvmap", "nvhost-ctrl", "nvhost-gpu", "nvgpu/igpu0/ctrl", "sda", "null")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/group").write_text("root:x:0:\nvideo:x:44:\n")
    text = device_drop_in(Machine(tmp_path))
    assert text is not None
    assert "DeviceAllow=/dev/nvhost-ctrl rw\n" in text
    assert "DeviceAllow=/dev/nvgpu/igpu0/ctrl rw\n" in text
    assert "sda" not in text
    assert "SupplementaryGroups=video\n" in text, "a group that is missing would stop the unit"
    assert "MemoryDenyWriteExecute=no\n" in text


def test_a_raspberry_pi_lets_its_firmware_through_and_nothing_else_goes(tmp_path: Path) -> None:
    nodes(tmp_path, "vcio", "mmcblk0")
    text = device_drop_in(Machine(tmp_path))
    assert text is not None
    assert "DeviceAllow=/dev/vcio rw\n" in text
    assert "mmcblk0" not in text
    assert "MemoryDenyWriteExecute" not in text
    assert "SupplementaryGroups" not in text


def test_a_coral_stick_is_found_by_its_ids(tmp_path: Path) -> None:
    stick = tmp_path / "sys/bus/usb/devices/1-1"
    stick.mkdir(parents=True)
    (stick / "idVendor").write_text("18d1\n")
    (stick / "idProduct").write_text("0001\n")
    assert device_drop_in(Machine(tmp_path)) is None
    (stick / "idProduct").write_text("9302\n")
    assert "char-usb_device" in (device_drop_in(Machine(tmp_path)) or "")


def exposure(root: Path) -> float:
    """What systemd says about the unit below `root`, 0 (nothing to fear) to 10."""
    command = ["systemd-analyze", "--no-pager", "security", "--offline=yes", f"--root={root}"]
    done = subprocess.run(
        [*command, "fitment-agent.service"], capture_output=True, text=True, timeout=60
    )
    if "Overall exposure level" not in done.stdout:
        pytest.skip(f"this systemd-analyze rates no file: {done.stderr.strip()[:120]}")
    return float(done.stdout.split("Overall exposure level for")[1].split()[1])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
@pytest.mark.parametrize("device_files", [(), ("vcio",), ("nvmap", "nvhost-gpu", "nvgpu/i/ctrl")])
def test_systemd_rates_the_unit_as_well_hardened(
    tmp_path: Path, device_files: tuple[str, ...]
) -> None:
    root = tmp_path / "root"
    machine = device(root, "systemd")
    nodes(root, *device_files)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/group").write_text("video:x:44:\nrender:x:104:\n")
    install(BY_NAME["systemd"].steps(answers(root), machine), machine)
    assert bool(device_files) == (root / f"{UNIT}.d/10-devices.conf").exists()
    assert exposure(root) <= 2.0


SHELL_CHECKS: list[Callable[[Path], list[str]]] = [
    lambda script: ["sh", "-n", str(script)],
    lambda script: ["shellcheck", "--shell=sh", "--exclude=SC1091", str(script)],
]


@pytest.mark.parametrize("check", SHELL_CHECKS, ids=["sh", "shellcheck"])
def test_scripts_are_clean_shell(tmp_path: Path, check: Callable[[Path], list[str]]) -> None:
    if shutil.which(check(tmp_path)[0]) is None:
        pytest.skip(f"there is no {check(tmp_path)[0]}")
    scripts = []
    for name in ("runit", "termux"):
        root = tmp_path / name
        machine = device(root, name)
        install(BY_NAME[name].steps(answers(root), machine), machine)
        scripts += [path for path in root.rglob("*") if path.is_file() and os.access(path, os.X_OK)]
    assert len(scripts) == 6
    for script in scripts:
        assert "@" not in script.read_text()
        done = subprocess.run(check(script), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
