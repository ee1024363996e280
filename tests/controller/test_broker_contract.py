"""What Fitment needs of a broker, shown on each engine that it embeds. MQTT 3.1.1 only."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fitment_contract.topics import DownChannel, UpChannel
from fitment_controller.broker.base import BrokerEndpoint
from fitment_controller.broker.embedded import EmbeddedBroker
from fitment_controller.broker.errors import BrokerPortError
from fitment_controller.broker.mosquitto import find_mosquitto
from fitment_controller.broker.probe import free_port
from support.edge_mqtt import TOPICS, MqttPeer, make_broker, wait_for

pytestmark = pytest.mark.system

DESIRED = TOPICS.down("pi-1", DownChannel.DESIRED)
DEATH = TOPICS.up("pi-1", UpChannel.DEATH)

ENGINES = [
    pytest.param(
        "mosquitto",
        marks=pytest.mark.skipif(find_mosquitto() is None, reason="Mosquitto is not installed"),
    ),
    "nats",
]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def broker(engine: str, tmp_path: Path) -> Iterator[EmbeddedBroker]:
    broker = make_broker(engine, tmp_path / "broker")
    yield broker
    broker.stop()


@pytest.fixture
def endpoint(broker: EmbeddedBroker) -> BrokerEndpoint:
    return broker.start()


def broker_pid(broker: EmbeddedBroker) -> int:
    return int(broker.pid_file.read_text())


def test_retained_desired_reaches_a_qos_0_subscriber_at_every_subscribe(
    endpoint: BrokerEndpoint,
) -> None:
    with MqttPeer(endpoint, "controller") as controller:
        controller.publish(DESIRED, b"generation 1", retain=True)
        controller.publish(DESIRED, b"generation 2", retain=True)
    for attempt in range(2):
        with MqttPeer(endpoint, f"device-{attempt}") as device:
            device.subscribe(DESIRED, qos=0)
            wait_for(lambda d=device: bool(d.received), "the retained message")
            assert device.received == [(DESIRED, b"generation 2", True)]


def test_a_retained_message_is_taken_back_by_an_empty_one(endpoint: BrokerEndpoint) -> None:
    with MqttPeer(endpoint, "controller") as controller, MqttPeer(endpoint, "device") as device:
        controller.publish(DESIRED, b"generation 1", retain=True)
        controller.publish(DESIRED, b"", retain=True)
        other = TOPICS.down("pi-2", DownChannel.DESIRED)
        controller.publish(other, b"marker", retain=True)
        device.subscribe(DESIRED, qos=0)
        device.subscribe(other, qos=0)
        wait_for(lambda: bool(device.payloads(other)), "the marker behind it")
        assert device.payloads(DESIRED) == []


def test_the_will_is_published_when_the_socket_dies(endpoint: BrokerEndpoint) -> None:
    with MqttPeer(endpoint, "controller") as controller:
        controller.subscribe(TOPICS.all_up(), qos=1)
        with MqttPeer(endpoint, "pi-1", will=(DEATH, b"session 7")) as device:
            device.kill()
            wait_for(lambda: controller.payloads(DEATH) == [b"session 7"], "the will")


def test_a_goodbye_publishes_no_will(endpoint: BrokerEndpoint) -> None:
    with MqttPeer(endpoint, "controller") as controller:
        controller.subscribe(TOPICS.all_up(), qos=1)
        with MqttPeer(endpoint, "pi-1", will=(DEATH, b"session 7")):
            pass
        with MqttPeer(endpoint, "pi-2") as other:
            other.publish(TOPICS.up("pi-2", UpChannel.VITALS), b"marker")
        wait_for(lambda: len(controller.received) == 1, "the marker")
        assert controller.payloads(DEATH) == []


def test_the_newer_connection_of_a_client_id_takes_the_session_over(
    endpoint: BrokerEndpoint,
) -> None:
    with MqttPeer(endpoint, "controller") as controller:
        controller.subscribe(TOPICS.all_up(), qos=1)
        older = MqttPeer(endpoint, "pi-1", will=(DEATH, b"session 1"))
        with older, MqttPeer(endpoint, "pi-1", will=(DEATH, b"session 2")) as newer:
            older.kill()  # else it would reconnect by itself and take the session back
            newer.publish(TOPICS.up("pi-1", UpChannel.VITALS), b"alive")
            wait_for(lambda: b"alive" in [p for _, p, _ in controller.received], "the newer one")
        assert b"session 2" not in controller.payloads(DEATH), (
            "the living session was declared dead"
        )


def test_one_filter_takes_in_every_device_and_channel(endpoint: BrokerEndpoint) -> None:
    sent = {
        TOPICS.up(f"pi-{number}", channel): f"{number} {channel.value}".encode()
        for number in range(5)
        for channel in UpChannel
    }
    with MqttPeer(endpoint, "controller") as controller, MqttPeer(endpoint, "devices") as devices:
        controller.subscribe(TOPICS.all_up(), qos=1)
        for topic, payload in sent.items():
            devices.publish(topic, payload)
        devices.publish(DESIRED, b"not upward")
        wait_for(lambda: len(controller.received) >= len(sent), "all messages")
        assert {topic: payload for topic, payload, _ in controller.received} == sent


def test_a_killed_broker_comes_back_on_the_same_port(
    broker: EmbeddedBroker, endpoint: BrokerEndpoint
) -> None:
    before = broker_pid(broker)
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: broker_pid(broker) != before and broker.healthy(), "a new broker")
    with MqttPeer(endpoint, "controller") as controller:
        controller.publish(DESIRED, b"again", retain=True)


def test_acknowledged_retained_state_survives_an_orderly_restart(
    engine: str, broker: EmbeddedBroker, endpoint: BrokerEndpoint, tmp_path: Path
) -> None:
    with MqttPeer(endpoint, "controller") as controller:
        controller.publish(DESIRED, b"generation 1", retain=True)
    broker.stop()
    again = make_broker(engine, tmp_path / "broker", endpoint.port)
    try:
        with MqttPeer(again.start(), "device") as device:
            device.subscribe(DESIRED, qos=0)
            wait_for(lambda: device.payloads(DESIRED) == [b"generation 1"], "the retained message")
    finally:
        again.stop()


def test_stopping_leaves_no_process_and_frees_the_port(
    engine: str, broker: EmbeddedBroker, endpoint: BrokerEndpoint, tmp_path: Path
) -> None:
    pid = broker_pid(broker)
    broker.stop()
    assert not psutil.pid_exists(pid)
    assert not broker.healthy()
    shutil.rmtree(tmp_path / "broker")
    again = make_broker(engine, tmp_path / "broker", endpoint.port)
    again.start()
    again.stop()


def test_an_orphan_of_a_killed_controller_is_replaced(
    engine: str, broker: EmbeddedBroker, endpoint: BrokerEndpoint, tmp_path: Path
) -> None:
    """The guard is killed too, so that the broker really is orphaned and holds the port."""
    orphan = psutil.Process(broker_pid(broker))
    guard = orphan.parent()
    assert guard is not None
    broker._child._stopping.set()  # the watcher of the "killed" controller must not act
    guard.kill()
    wait_for(lambda: not broker._child.running(), "the end of the guard")
    assert orphan.is_running(), "the orphan is what this test is about"
    again = make_broker(engine, tmp_path / "broker", endpoint.port)
    try:
        again.start()
        assert broker_pid(again) != orphan.pid
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
    finally:
        again.stop()


def test_a_port_held_by_somebody_else_is_named(engine: str, tmp_path: Path) -> None:
    first = make_broker(engine, tmp_path / "first", free_port("127.0.0.1"))
    held = first.start()
    try:
        with pytest.raises(BrokerPortError, match=str(held.port)) as caught:
            make_broker(engine, tmp_path / "second", held.port).start()
        assert "--broker-port" in caught.value.next_step
        assert first.healthy(), "the other's broker was touched"
    finally:
        first.stop()
