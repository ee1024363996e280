"""The doctor: each check on a device that is whole, and on one that is broken in that way."""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from fitment_agent.clock import SOFTWARE_DATE
from fitment_agent.control import RunLock
from fitment_agent.deployment import Deployment
from fitment_agent.doctor import (
    artifacts,
    broker,
    clock,
    doubles,
    firmware,
    phone,
    python_version,
    runtimes,
    secrets,
    service,
    storage,
    supply,
    unknown_facts,
)
from fitment_agent.doctor.examination import examine, run_checks
from fitment_agent.doctor.finding import Finding, Level
from fitment_agent.doctor.patient import Patient
from fitment_agent.install import termux
from fitment_agent.install.answers import Answers
from fitment_agent.install.machine import Machine
from fitment_agent.install.managers import MANAGERS
from fitment_agent.install.steps import install
from fitment_agent.journal import Journal
from fitment_agent.probe import make_probe
from fitment_agent.settings import Settings
from fitment_contract.device import RuntimeFacts
from support.agent_lab import Lab, LabBroker, free_port, running_agent, wait_until

ROOTS = Path(__file__).parent / "roots"
LATER = SOFTWARE_DATE + timedelta(days=30)


def patient(folder: Path, root: Path | None = None, **settings: Any) -> Patient:
    """A device whose files are in `root`, and whose state is in `folder`."""
    prefix = root or folder / "root"
    told = Settings("bench-1", folder / "state", root_prefix=prefix, **settings)
    return Patient(told, Machine(prefix), make_probe(told).facts(), LATER)


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    found = findings[0]
    assert found.level is Level.OK or found.fix, "a problem comes with what mends it"
    return found


@pytest.fixture
def lab_broker(tmp_path: Path) -> Iterator[LabBroker]:
    started = LabBroker(tmp_path)
    started.start()
    yield started
    started.stop()


# The machine


def test_python_310_and_toml_do_not_go_together(tmp_path: Path) -> None:
    (tmp_path / "root/etc/fitment").mkdir(parents=True)
    who = patient(tmp_path)
    assert only(python_version.check(who, (3, 10, 12))).level is Level.OK
    (tmp_path / "root/etc/fitment/agent.toml").touch()
    assert only(python_version.check(who, (3, 11, 2))).level is Level.OK
    found = only(python_version.check(who, (3, 10, 12)))
    assert found.level is Level.WARN
    assert "agent.json" in str(found.fix)


ONNX = RuntimeFacts(name="onnxruntime", version="1.22.0", formats=("onnx",))
PI = runtimes.Platform("aarch64", "glibc 2.36", (3, 11), "pip")


def test_runtimes_that_load_are_well(tmp_path: Path) -> None:
    found = runtimes.check(patient(tmp_path))
    assert {finding.level for finding in found} == {Level.OK}
    assert any("onnxruntime" in finding.what for finding in found)
    assert only(runtimes.judge((ONNX,), (ONNX,), PI)).level is Level.OK


@pytest.mark.parametrize(
    ("platform", "names"),
    [
        (PI, "pip onnxruntime"),
        (replace(PI, architecture="armv7l"), "tflite-runtime"),
        (replace(PI, architecture="armv7l", python=(3, 13)), "64-bit"),
        (replace(PI, libc="musl"), "glibc"),
        (replace(PI, libc="bionic 34", python=(3, 13)), "proot-distro"),
    ],
)
def test_without_a_runtime_the_advice_fits_the_platform(
    platform: runtimes.Platform, names: str
) -> None:
    why, command = runtimes.advice(platform)
    assert why.startswith("no runtime")
    assert names in command


@pytest.mark.parametrize("libc", ["glibc 2.36", "bionic 34"])
def test_a_runtime_that_cannot_be_imported_is_named(libc: str) -> None:
    found = only(runtimes.judge((ONNX,), (), replace(PI, libc=libc)))
    assert found.level is Level.FAIL
    assert "cannot be imported" in found.what
    assert ("proot-distro" if libc.startswith("bionic") else "--force-reinstall") in str(found.fix)


@pytest.mark.parametrize(
    ("now", "level"),
    [
        (LATER, Level.OK),
        (datetime(1970, 1, 1, 0, 3, tzinfo=timezone.utc), Level.FAIL),
        (datetime(2098, 1, 1, tzinfo=timezone.utc), Level.WARN),
    ],
)
@pytest.mark.parametrize("root", ["pi4", "termux"])
def test_the_clock(tmp_path: Path, now: datetime, level: Level, root: str) -> None:
    who = replace(patient(tmp_path, ROOTS / root), now=now)
    found = only(clock.check(replace(who, machine=phone_tree(tmp_path, root == "termux"))))
    assert found.level is level
    if level is not Level.OK:
        assert ("timedatectl" in str(found.fix)) is (root == "pi4")


def phone_tree(folder: Path, is_phone: bool) -> Machine:
    if is_phone:
        (folder / "tree" / termux.PREFIX[1:] / "bin").mkdir(parents=True)
    return Machine(folder / "tree")


def test_a_clock_that_was_never_set_from_the_network(tmp_path: Path) -> None:
    who = patient(tmp_path)
    (tmp_path / "root/run/systemd/timesync").mkdir(parents=True)
    assert only(clock.check(who)).level is Level.WARN
    (tmp_path / "root/run/systemd/timesync/synchronized").touch()
    assert only(clock.check(who)).level is Level.OK


def pi(folder: Path, word: str) -> Path:
    """A Raspberry Pi 4 whose firmware says `word`; nothing where that is empty."""
    root = folder / "pi"
    shutil.copytree(ROOTS / "pi4", root)
    file = root / "sys/devices/platform/soc/soc:firmware/get_throttled"
    file.write_text(word) if word else file.unlink()
    return root


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("0", []),
        ("50005", ["power supply", "heat"]),
        ("10000", ["power supply"]),
        ("80000", ["heat"]),
    ],
)
def test_what_the_firmware_saw_since_the_start(tmp_path: Path, word: str, names: list[str]) -> None:
    found = supply.check(patient(tmp_path, pi(tmp_path, word)))
    assert [finding.name for finding in found if finding.level is Level.WARN] == names
    assert all(finding.fix for finding in found if finding.level is Level.WARN)
    assert supply.check(patient(tmp_path, ROOTS / "empty")) == []


def test_a_firmware_that_may_not_be_asked(tmp_path: Path) -> None:
    assert firmware.check(patient(tmp_path, ROOTS / "laptop")) == []
    assert only(firmware.check(patient(tmp_path, ROOTS / "pi4"))).level is Level.OK
    who = patient(tmp_path, pi(tmp_path, ""))
    found = only(firmware.check(who))
    assert found.level is Level.WARN
    assert "raspi-utils" in str(found.fix)
    denied = {"thermal.throttled": "vcgencmd ended with status 255"}
    who = replace(who, facts=who.facts.model_copy(update={"unknown": denied}))
    assert "usermod -aG video" in str(only(firmware.check(who)).fix)


def test_a_phone_with_all_that_it_needs_and_without(tmp_path: Path) -> None:
    assert phone.check(patient(tmp_path, ROOTS / "pi4")) == []
    machine = phone_tree(tmp_path, is_phone=True)
    whole = replace(patient(tmp_path, ROOTS / "termux"), machine=machine)
    levels = {finding.name: finding.level for finding in phone.check(whole)}
    assert levels == {
        "termux-services": Level.FAIL,
        "Termux:API": Level.OK,
        "standby": Level.OK,
    }
    machine.write(f"{termux.PREFIX}/share/termux-services/svlogger", b"", 0o700)
    assert phone.check(whole)[0].level is Level.OK


@pytest.mark.parametrize(
    ("reason", "fix"),
    [
        ("termux-battery-status is not installed", "pkg install termux-api"),
        ("termux-battery-status did not answer within 4 s", "the app Termux:API"),
    ],
)
def test_termux_api_without_package_or_app(tmp_path: Path, reason: str, fix: str) -> None:
    who = patient(tmp_path, ROOTS / "termux")
    facts = who.facts.model_copy(update={"unknown": {"power.charge_ratio": reason}})
    machine = phone_tree(tmp_path, is_phone=True)
    found = phone.check(replace(who, facts=facts, machine=machine))[1]
    assert found.level is Level.WARN
    assert fix in str(found.fix)


def test_facts_that_selection_needs(tmp_path: Path) -> None:
    assert only(unknown_facts.check(patient(tmp_path, ROOTS / "pi4"))).level is Level.OK
    found = only(unknown_facts.check(patient(tmp_path, ROOTS / "empty")))
    assert found.level is Level.WARN
    assert "hardware.memory_bytes" in found.what


# What was configured


def test_files_with_secrets(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    who = patient(tmp_path, password_file=secret)
    assert only(secrets.check(who)).level is Level.FAIL
    secret.write_text("s3cret\n")
    secret.chmod(0o640)
    assert only(secrets.check(who)).level is Level.OK
    secret.chmod(0o644)
    found = only(secrets.check(who))
    assert found.level is Level.WARN
    assert subprocess.run(str(found.fix), shell=True).returncode == 0
    assert only(secrets.check(who)).level is Level.OK, "the command mends it"
    secret.write_text("\n")
    assert only(secrets.check(who)).level is Level.FAIL
    assert secrets.check(patient(tmp_path)) == []
    secret.chmod(0o644)
    assert only(secrets.check(patient(tmp_path, ca_file=secret))).level is Level.FAIL
    secret.write_text("-----BEGIN CERTIFICATE-----\n")
    assert only(secrets.check(patient(tmp_path, ca_file=secret))).level is Level.OK


def levels(findings: list[Finding]) -> list[Level]:
    return [finding.level for finding in findings]


def test_the_state_folder_and_its_room(tmp_path: Path) -> None:
    who = patient(tmp_path)
    (tmp_path / "state").mkdir()
    before = list(tmp_path.rglob("*"))
    assert levels(storage.check(who)) == [Level.OK, Level.OK]
    assert list(tmp_path.rglob("*")) == before, "looking leaves nothing behind"
    full = patient(tmp_path, reserve_bytes=2**60)
    assert levels(storage.check(full)) == [Level.OK, Level.FAIL]
    assert levels(storage.check(patient(tmp_path / "not" / "yet"))) == [Level.OK, Level.OK]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_state_folder_that_root_has_been_in(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "journal.db").touch()
    shutil.chown(state, 65534)
    who = patient(tmp_path)
    found = storage.check(who)[0]
    assert found.level is Level.FAIL
    assert "journal.db" in found.what
    mended = str(found.fix).removeprefix("sudo ")
    assert subprocess.run(mended, shell=True).returncode == 0
    assert storage.check(who)[0].level is Level.OK


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
@pytest.mark.parametrize("trouble", ["ro", "full"])
def test_storage_that_takes_nothing(tmp_path: Path, trouble: str) -> None:
    state = tmp_path / "state"
    state.mkdir()
    options = ["-o", "size=64k"] if trouble == "full" else []
    if subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(state)]).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        if trouble == "ro":
            subprocess.run(["mount", "-o", "remount,ro", str(state)], check=True)
        else:
            with pytest.raises(OSError, match="space"):
                (state / "fill").write_bytes(b"x" * 10**6)
        found = storage.check(patient(tmp_path))[0]
        assert found.level is Level.FAIL
        assert ("read-only" if trouble == "ro" else "full") in found.what
    finally:
        subprocess.run(["umount", str(state)], check=True)


def ask(folder: Path, url: str, **settings: Any) -> Finding:
    return only(broker.check(patient(folder, broker_url=url, **settings)))


def test_a_broker_that_lets_the_device_in(tmp_path: Path, lab_broker: LabBroker) -> None:
    assert ask(tmp_path, lab_broker.url).level is Level.OK


def test_a_broker_that_is_not_there(tmp_path: Path) -> None:
    port = free_port()
    found = ask(tmp_path, f"mqtt://127.0.0.1:{port}")
    assert found.level is Level.FAIL
    assert f"--broker-port {port}" in str(found.fix)
    assert "leads nowhere" in ask(tmp_path, "mqtt://no-such-host.invalid").what


@contextmanager
def listening(context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that takes connections and hangs up."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
                if context is not None:
                    context.wrap_socket(connection, server_side=True).close()
                connection.close()
            except ssl.SSLError:
                continue
            except OSError as error:
                if server.fileno() < 0 or error.errno == 22:
                    return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def test_a_port_where_something_else_listens(tmp_path: Path) -> None:
    with listening() as port:
        assert "MQTT" in ask(tmp_path, f"mqtt://127.0.0.1:{port}").what
        assert "TLS" in ask(tmp_path, f"mqtts://127.0.0.1:{port}").what


def make_certificate(folder: Path, days: str = "2") -> tuple[Path, ssl.SSLContext]:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", days]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


def test_a_certificate_that_nobody_trusts(tmp_path: Path) -> None:
    certificate, context = make_certificate(tmp_path)
    with listening(context) as port:
        url = f"mqtts://localhost:{port}"
        found = ask(tmp_path, url)
        assert found.level is Level.FAIL
        assert "--ca-file" in str(found.fix)
        trusted = ask(tmp_path, url, ca_file=certificate)
        assert "certificate" not in trusted.what, "the next step is asked then"


MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.mark.skipif(MOSQUITTO is None, reason="there is no mosquitto to ask for passwords")
def test_a_broker_that_refuses_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = LabBroker(tmp_path)
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "device", "right"], check=True)
    config = tmp_path / "strict.conf"
    config.write_text(
        f"user root\nlistener {strict.port} 127.0.0.1\nallow_anonymous false\n"
        f"password_file {passwords}\npersistence false\n"
    )
    monkeypatch.setattr(strict, "_command", lambda: [str(MOSQUITTO), "-c", str(config)])
    strict.start()
    try:
        url = strict.url.replace("//", "//device@")
        secret = tmp_path / "secret"
        secret.write_text("wrong\n")
        found = ask(tmp_path, url, password_file=secret)
        assert found.level is Level.FAIL
        assert "'device'" in found.what
        assert "wrong" not in f"{found.what} {found.fix}"
        assert ask(tmp_path, strict.url).level is Level.FAIL
        secret.write_text("right\n")
        assert ask(tmp_path, url, password_file=secret).level is Level.OK
    finally:
        strict.stop()


def test_servers_that_models_come_from(tmp_path: Path) -> None:
    who = patient(tmp_path)
    assert only(artifacts.check(who)).level is Level.OK, "nothing was offered"
    lab = Lab(tmp_path)
    try:
        (tmp_path / "state").mkdir(exist_ok=True)
        journal = Journal(tmp_path / "state/journal.db")
        journal.save(Deployment(generation=1, assignment=lab.assignment()), generation=1)
        journal.close()
        found = only(artifacts.check(who))
        assert found.level is Level.OK
        assert "answers" in found.what
    finally:
        lab.close()
    gone = only(artifacts.check(who))
    assert gone.level is Level.FAIL
    assert str(gone.fix).startswith("curl -I http://127.0.0.1")


def write_process(root: Path, pid: int, *words: str) -> None:
    (root / f"proc/{pid}").mkdir(parents=True)
    (root / f"proc/{pid}/cmdline").write_bytes("\0".join((*words, "")).encode())


def test_two_agents_with_one_name(tmp_path: Path) -> None:
    root = tmp_path / "root"
    daemon = ("/opt/fitment/bin/python", "-m", "fitment_agent.daemon_main")
    write_process(root, 10, *daemon, '{"device_id": "bench-1", "state_dir": "/a"}')
    write_process(root, 11, *daemon, '{"device_id": "other"}')
    write_process(root, 12, *daemon, "{")
    write_process(root, 13, *daemon)
    write_process(root, 14, "grep", "fitment_agent.daemon_main", "[]")
    who = patient(tmp_path)
    assert only(doubles.check(who)).level is Level.OK
    write_process(root, 9, *daemon, '{"device_id": "bench-1", "state_dir": "/b"}')
    found = only(doubles.check(who))
    assert found.level is Level.FAIL
    assert "9 10" in found.what
    assert "kill 10" in str(found.fix)


def test_a_real_agent_is_seen(tmp_path: Path) -> None:
    with running_agent(Settings("doctor-sees-me", tmp_path / "state")) as real:
        me = (real.process.pid, "doctor-sees-me")
        wait_until(lambda: me in doubles.running_agents(Machine(Path("/"))), "the agent to show")


@pytest.mark.parametrize("manager", MANAGERS, ids=lambda one: one.name)
def test_the_service_missing_disabled_stopped_and_running(tmp_path: Path, manager: Any) -> None:
    who = patient(tmp_path)
    found = only(service.check(who))
    assert found.level is Level.WARN
    assert "install" in str(found.fix)
    machine = Machine(tmp_path / "root")
    steps = manager.steps(Answers("/opt/fitment/bin/fitment-agent", {}), machine)
    install(steps[:-4], machine)
    found = only(service.check(who))
    assert found.level is Level.FAIL, "half an installation"
    assert "does not start with the device" in found.what
    install(steps, machine)
    found = only(service.check(who))
    assert found.level is Level.FAIL
    assert manager.log in str(found.fix)
    lock = RunLock(tmp_path / "state", "bench-1")
    lock.acquire()
    try:
        found = only(service.check(who))
        assert found.level is Level.OK
        assert str(os.getpid()) in found.what
    finally:
        lock.release()


# All together


def test_a_check_that_breaks_costs_no_other(tmp_path: Path) -> None:
    def broken(_: Patient) -> list[Finding]:
        raise ZeroDivisionError("oh")

    found = run_checks((broken, unknown_facts.check), patient(tmp_path, ROOTS / "pi4"))
    assert [finding.level for finding in found] == [Level.FAIL, Level.OK]
    assert "ZeroDivisionError" in found[0].what


@pytest.mark.parametrize("root", sorted(path.name for path in ROOTS.iterdir()))
def test_it_examines_every_device_that_is_known(
    tmp_path: Path, root: str, lab_broker: LabBroker
) -> None:
    flags = {
        "root_prefix": ROOTS / root,
        "state_dir": tmp_path / "state",
        "broker_url": lab_broker.url,
    }
    found = examine(flags, write_config(tmp_path, {}))
    assert not [one for one in found if one.level is Level.FAIL and one.name != "termux-services"]
    assert not [one for one in found if "could not be looked at" in one.what]


def write_config(folder: Path, content: object) -> Path:
    file = folder / "agent.json"
    file.write_text(json.dumps(content))
    return file


def test_wrong_settings_are_a_finding_and_the_machine_is_examined_nevertheless(
    tmp_path: Path,
) -> None:
    config = write_config(tmp_path, {"broker_url": "http://hq"})
    found = examine({"root_prefix": ROOTS / "pi4"}, config)
    assert (found[0].name, found[0].level) == ("settings", Level.FAIL)
    assert "clock" in [finding.name for finding in found]


def doctor(*arguments: str, code: int) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "fitment_agent", "doctor", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_as_a_person_would(tmp_path: Path, lab_broker: LabBroker) -> None:
    config = write_config(tmp_path, {"state_dir": str(tmp_path / "state")})
    where = ["--config", str(config), "--root-prefix", str(ROOTS / "pi4")]
    content = json.loads(doctor(*where, "--broker", lab_broker.url, "-o", "json", code=0))
    assert content["kind"] == "Diagnosis"
    assert content["healthy"] is True
    text = doctor(*where, "--broker", f"mqtt://127.0.0.1:{free_port()}", code=1)
    assert "fail" in text
    assert "-> " in text
