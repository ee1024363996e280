"""`fitment up` as a real process: ready, alone on its data, clean at the end, back after a kill."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import httpx
import psutil
import pytest

from fitment_controller.broker.base import BrokerEndpoint
from fitment_controller.broker.mosquitto import find_mosquitto
from support.edge_device import ScriptedDevice
from support.edge_mqtt import MqttPeer, wait_for
from support.edge_process import UpProcess, fitment

pytestmark = pytest.mark.system

needs_mosquitto = pytest.mark.skipif(find_mosquitto() is None, reason="Mosquitto is not installed")


def test_ready_means_that_everything_answers(tmp_path: Path) -> None:
    with UpProcess(tmp_path / "data") as up:
        assert httpx.get(f"{up.ready['url']}/healthz").json() == {"healthy": True}
        with MqttPeer(BrokerEndpoint(up.ready["broker_url"]), "anybody"):
            pass
        assert up.ready == json.loads((up.data / "ready.json").read_text())
        assert up.ready["pid"] == up.process.pid
        assert up.ready["api_token_file"] is None, "loopback asks for nothing"
        join = f"fitment-agent run --broker {up.ready['broker_url']}"
        wait_for(lambda: join in up.log.read_text(), "the command that joins a device")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(number: int, tmp_path: Path) -> None:
    with UpProcess(tmp_path / "data") as up:
        children = up.children()
        assert children
        assert up.stop(number) == 0
        assert not [child for child in children if child.is_running()]
        assert not (up.data / "ready.json").exists()
        assert "Traceback" not in up.log.read_text()


def test_somebody_who_follows_the_log_does_not_hold_the_end_up(tmp_path: Path) -> None:
    with UpProcess(tmp_path / "data") as up:
        headers = {"Accept": "text/event-stream"}
        with httpx.stream("GET", f"{up.ready['url']}/v1/events", headers=headers) as stream:
            assert stream.status_code == 200
            assert up.stop() == 0
            assert list(stream.iter_lines()) in ([], [": still here", ""])
        log = up.log.read_text()
        assert "Traceback" not in log
        assert "timeout" not in log.lower()


def test_the_data_directory_belongs_to_one(tmp_path: Path) -> None:
    with UpProcess(tmp_path / "data") as up:
        second = fitment("up", "--data", str(up.data), "--port", "0", "--broker-port", "0")
        assert second.returncode == 5
        assert second.stdout == ""
        assert f"process {up.process.pid}" in second.stderr
        assert "--data" in second.stderr
        assert httpx.get(f"{up.ready['url']}/healthz").status_code == 200


@pytest.mark.parametrize("flag", ["--port", "--broker-port"])
def test_a_taken_port_is_named_with_the_flag_that_changes_it(flag: str, tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = str(holder.getsockname()[1])
        other = "--broker-port" if flag == "--port" else "--port"
        done = fitment("up", "--data", str(tmp_path / "data"), flag, taken, other, "0")
    assert done.returncode == 1
    assert taken in done.stderr
    assert f"{flag}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("engine", [pytest.param("mosquitto", marks=needs_mosquitto), "nats"])
def test_a_killed_controller_comes_back_on_the_same_data_and_ports(
    engine: str, tmp_path: Path
) -> None:
    with UpProcess(tmp_path / "data", "--embedded-broker", engine) as up:
        url, endpoint = up.ready["url"], BrokerEndpoint(up.ready["broker_url"])
        ports = ("--port", up.port, "--broker-port", up.broker_port)
        with ScriptedDevice(endpoint, "pi-1"):
            wait_for(lambda: httpx.get(f"{url}/v1/devices/pi-1").status_code == 200, "registration")
            up.kill()
    with UpProcess(tmp_path / "data", "--embedded-broker", engine, *ports) as again:
        assert again.ready["url"] == url
        assert httpx.get(f"{url}/v1/devices/pi-1").status_code == 200, "the fleet was forgotten"
        with ScriptedDevice(endpoint, "pi-2"):
            wait_for(lambda: httpx.get(f"{url}/v1/devices/pi-2").status_code == 200, "registration")


def test_a_killed_controller_takes_its_broker_along(tmp_path: Path) -> None:
    with UpProcess(tmp_path / "data") as up:
        children = up.children()
        assert children
        up.kill()
        wait_for(
            lambda: not [child for child in children if psutil.pid_exists(child.pid)],
            "the end of its children",
        )


def test_a_killed_broker_is_replaced_while_the_controller_serves(tmp_path: Path) -> None:
    with UpProcess(tmp_path / "data") as up:
        pid_file = next((up.data / "broker").glob("*.pid"))
        before = pid_file.read_text()
        psutil.Process(int(before)).kill()
        wait_for(lambda: pid_file.read_text() != before, "another broker")
        wait_for(lambda: httpx.get(f"{up.ready['url']}/healthz").status_code == 200, "health again")
        with ScriptedDevice(BrokerEndpoint(up.ready["broker_url"]), "pi-1"):
            wait_for(
                lambda: httpx.get(f"{up.ready['url']}/v1/devices/pi-1").status_code == 200,
                "registration",
            )


@needs_mosquitto
def test_beyond_loopback_everything_asks_for_credentials(tmp_path: Path) -> None:
    with UpProcess(tmp_path / "data", "--listen", "0.0.0.0", "--advertise", "127.0.0.1") as up:
        url = up.ready["url"]
        api, device = (Path(up.ready[f"{who}_token_file"]) for who in ("api", "device"))
        assert {path.stat().st_mode & 0o777 for path in (api, device)} == {0o600}
        assert httpx.get(f"{url}/healthz").status_code == 200
        _check_tokens(url, api.read_text().strip(), device.read_text().strip())
        endpoint = BrokerEndpoint(up.ready["broker_url"])
        assert up.ready["broker_url"].startswith("mqtt://device@")
        stranger = MqttPeer(endpoint, "stranger")
        wait_for(lambda: stranger.codes[:1] == ["Not authorized"], "the refusal")
        stranger.close()
        with ScriptedDevice(endpoint, "pi-1", login=("device", device.read_text().strip())):
            wait_for(
                lambda: fitment("device", "get", "pi-1", "--data", str(up.data)).returncode == 0,
                "registration",
            )
        assert fitment("status", "--url", url, "--data", str(tmp_path)).returncode == 4
        for secret in (api.read_text().strip(), device.read_text().strip()):
            assert secret not in up.log.read_text()
            for process in [psutil.Process(up.process.pid), *up.children()]:
                assert secret not in " ".join(process.cmdline())


def _check_tokens(url: str, api: str, device: str) -> None:
    def status(path: str, token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.get(f"{url}{path}", headers=headers).status_code

    missing = f"/v1/artifacts/{'0' * 64}"
    for path in ("/v1/status", "/metrics", "/v1/devices"):
        assert status(path, "") == 401
        assert status(path, device) == 401, "a device must not read the fleet"
        assert status(path, api[:-1]) == 401
        assert status(path, api) == 200
    assert status(missing, "") == 401
    assert status(missing, device) == 404
    assert status(missing, api) == 404
    assert status("/v1/artifacts/../status", device) in (401, 404)


def test_nats_beyond_loopback_is_refused_with_the_reason(tmp_path: Path) -> None:
    done = fitment(
        *("up", "--data", str(tmp_path / "data"), "--port", "0", "--broker-port", "0"),
        *("--listen", "0.0.0.0", "--embedded-broker", "nats"),
    )
    assert done.returncode == 1
    assert "this machine only" in done.stderr
    assert "Mosquitto" in done.stderr


def test_an_external_broker_is_used_and_left_running(tmp_path: Path) -> None:
    with UpProcess(tmp_path / "first") as first:
        broker = first.ready["broker_url"]
        with UpProcess(tmp_path / "second", "--broker", broker, "--topic-root", "other") as second:
            assert second.children() == []
            assert second.ready["broker_url"] == broker
            assert httpx.get(f"{second.ready['url']}/healthz").status_code == 200
        assert httpx.get(f"{first.ready['url']}/healthz").status_code == 200


def test_bad_settings_are_usage_errors(tmp_path: Path) -> None:
    done = fitment("up", "--data", str(tmp_path), FITMENT_PORT="many")
    assert done.returncode == 2
    assert "FITMENT_PORT" in done.stderr
    done = fitment("up", "--data", str(tmp_path), "--port", "99999")
    assert done.returncode == 2
    assert "99999" in done.stderr
