"""The connection to real brokers: in, out, and again after everything was lost."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fitment_contract.base import utc_now
from fitment_contract.codec import MAX_MESSAGE_BYTES, decode
from fitment_contract.messages import Command, CommandName, Desired
from fitment_contract.topics import DownChannel, UpChannel
from fitment_controller.broker.base import BrokerEndpoint, BrokerLogins
from fitment_controller.broker.embedded import EmbeddedBroker
from fitment_controller.broker.mosquitto import find_mosquitto
from fitment_controller.broker.probe import free_port
from fitment_controller.gateway import Gateway
from support.edge_fleet import RememberingFleet, desired, vitals, wire
from support.edge_mqtt import TOPICS, MqttPeer, make_broker, wait_for

pytestmark = pytest.mark.system

needs_mosquitto = pytest.mark.skipif(find_mosquitto() is None, reason="Mosquitto is not installed")
DESIRED = TOPICS.down("pi-1", DownChannel.DESIRED)


@pytest.fixture(params=[pytest.param("mosquitto", marks=needs_mosquitto), "nats"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedBroker]:
    broker = make_broker(request.param, tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def endpoint(broker: EmbeddedBroker) -> BrokerEndpoint:
    return broker._endpoint


@pytest.fixture
def fleet() -> RememberingFleet:
    return RememberingFleet()


@pytest.fixture
def gateway(endpoint: BrokerEndpoint, fleet: RememberingFleet) -> Iterator[Gateway]:
    gateway = Gateway(endpoint, TOPICS, "fitment-controller-test")
    gateway.start(fleet)
    assert gateway.wait_connected(20)
    yield gateway
    gateway.stop()


def generations(peer: MqttPeer) -> list[int]:
    messages = [decode(TOPICS.parse(topic), payload) for topic, payload, _ in list(peer.received)]
    return [message.generation for message in messages if isinstance(message, Desired)]


def assert_published(gateway: Gateway, generation: int) -> None:
    assert gateway.publish(desired("pi-1", generation))


def test_what_devices_say_reaches_the_fleet_and_noise_is_counted(
    gateway: Gateway, endpoint: BrokerEndpoint, fleet: RememberingFleet
) -> None:
    sent = [vitals(f"pi-{number}") for number in range(20)]
    with MqttPeer(endpoint, "devices") as devices:
        for message in sent:
            devices.publish(*wire(message))
        devices.publish(TOPICS.up("pi-1", UpChannel.VITALS), b"noise")
        devices.publish(TOPICS.up("pi-1", UpChannel.VITALS), b"x" * (MAX_MESSAGE_BYTES + 1))
        devices.publish(*wire(vitals("last")))
        wait_for(lambda: "last" in [m.device for m in fleet.messages], "the last message")
    assert fleet.messages[:-1] == sent
    assert fleet.dropped == {"malformed": 1, "oversized": 1}


def test_desired_state_is_retained_and_commands_are_not(
    gateway: Gateway, endpoint: BrokerEndpoint
) -> None:
    command = Command(device="pi-1", sent_at=utc_now(), id="1", name=CommandName.REPORT)
    assert gateway.publish(command)
    assert gateway.publish(desired("pi-1", 1))
    assert gateway.publish(desired("pi-1", 2))
    with MqttPeer(endpoint, "pi-1") as device:
        device.subscribe(TOPICS.all_down(), qos=0)
        wait_for(lambda: 2 in generations(device), "desired state")
        assert {topic for topic, _, _ in device.received} == {DESIRED}
    assert gateway.published() == {"cmd": 1, "desired": 2}


def test_everything_is_published_again_when_the_broker_forgot_everything(
    broker: EmbeddedBroker,
    gateway: Gateway,
    endpoint: BrokerEndpoint,
    fleet: RememberingFleet,
    tmp_path: Path,
) -> None:
    fleet.on_connected = lambda: assert_published(gateway, 7)
    assert gateway.publish(desired("pi-1", 7))
    for forgotten in ("mosquitto.db", "jetstream"):
        path = tmp_path / "broker" / forgotten
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    os.kill(int(broker.pid_file.read_text()), signal.SIGKILL)
    wait_for(lambda: fleet.connections == 2 and gateway.connected(), "the second connection")
    with MqttPeer(endpoint, "pi-1") as device:
        device.subscribe(DESIRED, qos=0)
        wait_for(lambda: generations(device) == [7], "desired state after the loss")
        device.publish(*wire(vitals("pi-1")))
        wait_for(lambda: bool(fleet.messages), "the intake after the loss")


def test_without_a_broker_nothing_is_taken_for_sent(fleet: RememberingFleet) -> None:
    nowhere = BrokerEndpoint(f"mqtt://127.0.0.1:{free_port('127.0.0.1')}")
    gateway = Gateway(nowhere, TOPICS, "fitment-controller-test")
    gateway.start(fleet)
    assert gateway.publish(desired("pi-1", 1)) is False
    assert not gateway.connected()
    gateway.stop()
    assert fleet.connections == 0
    assert gateway.published() == {}


def test_the_gateway_waits_for_a_broker_that_comes_later(
    fleet: RememberingFleet, tmp_path: Path
) -> None:
    port = free_port("127.0.0.1")
    gateway = Gateway(BrokerEndpoint(f"mqtt://127.0.0.1:{port}"), TOPICS, "fitment-controller-test")
    gateway.start(fleet)
    broker = make_broker("nats", tmp_path / "broker", port)
    broker.start()
    try:
        assert gateway.wait_connected(40)
    finally:
        gateway.stop()
        broker.stop()


def test_a_failure_to_publish_desired_state_begins_the_connection_again(
    endpoint: BrokerEndpoint, fleet: RememberingFleet
) -> None:
    def fail_once() -> None:
        if fleet.connections == 1:
            raise RuntimeError("the database is busy")

    fleet.on_connected = fail_once
    gateway = Gateway(endpoint, TOPICS, "fitment-controller-test")
    gateway.start(fleet)
    assert gateway.wait_connected(20)
    gateway.stop()
    assert fleet.connections == 2


@needs_mosquitto
def test_a_refused_login_is_retried_and_never_fatal(
    fleet: RememberingFleet, tmp_path: Path
) -> None:
    logins = BrokerLogins(tmp_path / "controller", tmp_path / "device")
    logins.controller.write_text("right")
    logins.device.write_text("other")
    broker = make_broker("mosquitto", tmp_path / "broker", logins=logins)
    endpoint = broker.start()
    gateway = Gateway(endpoint, TOPICS, "fitment-controller-test")
    logins.controller.write_text("wrong")
    gateway.start(fleet)
    assert not gateway.wait_connected(0.5)
    logins.controller.write_text("right\n")
    try:
        assert gateway.wait_connected(20)
    finally:
        gateway.stop()
        broker.stop()
