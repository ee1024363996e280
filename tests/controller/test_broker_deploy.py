"""The broker files under deploy/ work with the broker that they are for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fitment_contract.topics import DownChannel, UpChannel
from fitment_controller.broker.base import BrokerEndpoint
from fitment_controller.broker.mosquitto import find_mosquitto
from fitment_controller.broker.passwords import write_password_file
from fitment_controller.broker.probe import answers_mqtt, free_port
from support.edge_mqtt import TOPICS, MqttPeer, wait_for

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.system
@pytest.mark.skipif(find_mosquitto() is None, reason="Mosquitto is not installed")
def test_the_example_for_a_broker_of_its_own_starts_and_keeps_directions(tmp_path: Path) -> None:
    """As shipped, except for paths, and without TLS, whose certificates are the site's own."""
    port = free_port("127.0.0.1")
    write_password_file(tmp_path / "fitment.passwords", {"controller": "c", "device": "d"})
    lines = [
        line.replace("/etc/mosquitto/fitment.access", str(DEPLOY / "fitment.access"))
        .replace("/etc/mosquitto", str(tmp_path))
        .replace("/var/lib/mosquitto", str(tmp_path))
        .replace("listener 8883", f"listener {port} 127.0.0.1")
        for line in (DEPLOY / "mosquitto.conf").read_text().splitlines()
        if not line.startswith(("cafile", "certfile", "keyfile"))
    ]
    configuration = tmp_path / "mosquitto.conf"
    configuration.write_text("\n".join([*lines, "user root", ""]))
    broker = subprocess.Popen([str(find_mosquitto()), "-c", str(configuration)])
    try:
        wait_for(lambda: answers_mqtt("127.0.0.1", port), "the broker")
        _check_directions(BrokerEndpoint(f"mqtt://127.0.0.1:{port}"))
    finally:
        broker.terminate()
        broker.wait()


def _check_directions(endpoint: BrokerEndpoint) -> None:
    up, down = TOPICS.up("pi", UpChannel.VITALS), TOPICS.down("pi", DownChannel.DESIRED)
    with (
        MqttPeer(endpoint, "headquarters", login=("controller", "c")) as controller,
        MqttPeer(endpoint, "pi", login=("device", "d")) as device,
        MqttPeer(endpoint, "forger", login=("device", "d")) as forger,
    ):
        controller.subscribe(TOPICS.all_up(), qos=1)
        device.subscribe(down, qos=0)
        forger.publish(down, b"forged")
        controller.publish(down, b"wanted", retain=True)
        device.publish(up, b"honest")
        wait_for(lambda: controller.payloads(up) == [b"honest"], "what the device says")
        wait_for(lambda: device.payloads(down) == [b"wanted"], "desired state, not the forgery")
