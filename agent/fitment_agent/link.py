"""The connection to the broker: one attempt at a time, each with its own session and will.

MQTT 3.1.1, clean sessions: nothing depends on what a broker remembers. The will carries the
session number of the very connection that it belongs to, so every connection is made anew with a
new will; the link does not reconnect by itself, the daemon decides when. While there is no
connection there is no thread either.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

_log = logging.getLogger(__name__)

KEEPALIVE_SECONDS: Final = 60
SAVING_KEEPALIVE_SECONDS: Final = 240
"""Where energy or bytes are dear. RFC 5382 asks networks to remember a silent connection for two
hours; four minutes are for those that do not."""

_SLEEPS: Final = 12  # of the network thread in one keepalive when nothing happens
_GOODBYE_SECONDS: Final = 3.0
_MAX_QUEUED: Final = 1000


@dataclass(frozen=True)
class Connected:
    """The broker accepted the connection of this session."""

    session: int


@dataclass(frozen=True)
class Disconnected:
    """The connection of this session ended, or never came to be."""

    session: int
    reason: str


@dataclass(frozen=True)
class Received:
    """A message arrived."""

    topic: str
    payload: bytes


@dataclass(frozen=True)
class Delivered:
    """The broker acknowledged a message of this session."""

    session: int
    message_id: int


LinkEvent = Connected | Disconnected | Received | Delivered


class Link(Protocol):
    """A way to the broker. Events come through the callback that it was built with."""

    def connect(
        self, session: int, will_topic: str, will: bytes, keepalive_seconds: int = KEEPALIVE_SECONDS
    ) -> None:
        """Start one attempt; exactly one `Disconnected` of this session ends it."""

    def subscribe(self, topic: str) -> None:
        """Ask for the messages of `topic`."""

    def publish(self, topic: str, payload: bytes) -> int | None:
        """Hand a message over, at least once; its id, or None when there is no connection."""

    def close(self) -> None:
        """End the connection in good order: the broker drops the will."""


@dataclass
class Backoff:
    """Pauses between attempts: exponential with full jitter, within bounds.

    The method is AWS's "Exponential Backoff and Jitter" (2015): a whole fleet that lost its broker
    at the same moment comes back spread out.

    Args:
        min_seconds: no pause is shorter, and the first is at most twice as long.
        max_seconds: no pause is longer.
    """

    min_seconds: float
    max_seconds: float
    uniform: Callable[[float, float], float] = random.uniform
    _attempts: int = field(default=0, init=False)

    def next_seconds(self) -> float:
        """The pause before the next attempt."""
        self._attempts = min(self._attempts + 1, 32)
        ceiling = min(self.min_seconds * 2.0**self._attempts, self.max_seconds)
        return self.uniform(self.min_seconds, max(ceiling, self.min_seconds))

    def reset(self) -> None:
        """Start again from the shortest pause: a connection stood."""
        self._attempts = 0


@dataclass(frozen=True)
class BrokerAddress:
    """Where the broker is and how to be let in.

    Attributes:
        password: never shown.
        ca_file: certificates to trust; None for the system's.
    """

    host: str
    port: int
    tls: bool
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    @classmethod
    def parse(cls, url: str, password: str | None, ca_file: Path | None) -> BrokerAddress:
        """The address in `mqtt://user@host:port` or `mqtts://…`."""
        parts = urlsplit(url)
        tls = parts.scheme == "mqtts"
        return cls(
            host=parts.hostname or "",
            port=parts.port or (8883 if tls else 1883),
            tls=tls,
            username=unquote(parts.username) if parts.username else None,
            password=password,
            ca_file=ca_file,
        )


class PahoLink:
    """The link over paho-mqtt.

    Args:
        address: of the broker.
        client_id: at the broker; the device's id.
        emit: called with every event, from the network thread.
    """

    def __init__(
        self, address: BrokerAddress, client_id: str, emit: Callable[[LinkEvent], None]
    ) -> None:
        self._address = address
        self._client_id = client_id
        self._emit = emit
        self._client: mqtt.Client | None = None
        self._thread: threading.Thread | None = None

    def connect(
        self, session: int, will_topic: str, will: bytes, keepalive_seconds: int = KEEPALIVE_SECONDS
    ) -> None:
        """Start one attempt in its own thread."""
        if self._thread is not None:
            self._thread.join()
        self._client = self._make_client(session)
        self._client.will_set(will_topic, will, qos=1)
        self._thread = threading.Thread(
            target=self._run,
            args=(self._client, session, keepalive_seconds),
            name="mqtt",
            daemon=True,
        )
        self._thread.start()

    def subscribe(self, topic: str) -> None:
        """Subscribe at QoS 0: `desired` is retained and comes again at every subscribe."""
        if self._client is not None:
            self._client.subscribe(topic, qos=0)

    def publish(self, topic: str, payload: bytes) -> int | None:
        """Publish at QoS 1, not retained."""
        if self._client is None or not self._client.is_connected():
            return None
        message = self._client.publish(topic, payload, qos=1)
        return message.mid if message.rc == mqtt.MQTT_ERR_SUCCESS else None

    def close(self) -> None:
        """Send what is queued, say goodbye and wait for the thread."""
        if self._client is not None:
            self._client.disconnect()
        if self._thread is not None:
            self._thread.join(_GOODBYE_SECONDS)

    def _run(self, client: mqtt.Client, session: int, keepalive_seconds: int) -> None:
        reason = "the connection ended"
        try:
            client.connect(self._address.host, self._address.port, keepalive=keepalive_seconds)
            while client.loop(timeout=keepalive_seconds / _SLEEPS) == mqtt.MQTT_ERR_SUCCESS:
                continue
            reason = client.user_data_get() or reason
        except Exception as error:  # noqa: BLE001 - whatever the network did, the daemon goes on
            reason = f"{type(error).__name__}: {error}"
        self._emit(Disconnected(session, reason))

    def _make_client(self, session: int) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=True,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        client.max_queued_messages_set(_MAX_QUEUED)
        if self._address.username is not None:
            client.username_pw_set(self._address.username, self._address.password)
        if self._address.tls:
            ca_file = self._address.ca_file
            client.tls_set(ca_certs=str(ca_file) if ca_file else None)
        # With this set, `publish` wakes the network thread instead of writing to the socket from
        # its own: two threads never write at once.
        client.on_socket_register_write = _leave_to_the_loop
        client.on_connect = self._connect_callback(session)
        client.on_disconnect = _remember_reason
        client.on_message = self._on_message
        client.on_publish = lambda _client, _data, mid, _code, _properties: self._emit(
            Delivered(session, mid)
        )
        return client

    def _connect_callback(self, session: int) -> Any:
        def on_connect(client: mqtt.Client, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
            if code.is_failure:
                client.user_data_set(f"the broker refused: {code}")
                client.disconnect()
            else:
                self._emit(Connected(session))

        return on_connect

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self._emit(Received(message.topic, bytes(message.payload)))


def _leave_to_the_loop(_client: mqtt.Client, _data: Any, _socket: Any) -> None:
    return


def _remember_reason(client: mqtt.Client, data: Any, _flags: Any, code: Any, _more: Any) -> None:
    if data is None:
        client.user_data_set(f"the connection ended: {code}")
