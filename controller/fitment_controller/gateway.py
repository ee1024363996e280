"""The controller's connection to the broker: everything devices say in, desired state out.

Each connection is a new client with an empty queue. What an older connection had not sent yet is
forgotten on purpose: it may be outdated, and `broker_connected` publishes the present state again.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from fitment_contract.codec import channel_of, encode
from fitment_contract.messages import Command, Desired
from fitment_contract.topics import DownChannel, Topics
from fitment_controller.broker.base import BrokerEndpoint
from fitment_controller.inbox import Fleet, Inbox

_log = logging.getLogger(__name__)

_QOS: Final = 1
_KEEPALIVE_SECONDS = 30
_CONNECT_SECONDS = 10.0
_BACKOFF_SECONDS = (0.2, 30.0)
_IN_FLIGHT_COUNT = 1000
_QUEUED_COUNT = 100_000


class Gateway:
    """Keeps one connection to the broker for as long as it runs.

    Args:
        endpoint: where the broker is and how to log in.
        topics: spells and parses topics.
        client_id: one per controller; the broker ends an older connection with the same.
    """

    def __init__(self, endpoint: BrokerEndpoint, topics: Topics, client_id: str) -> None:
        self._endpoint = endpoint
        self._topics = topics
        self._client_id = client_id
        self._connection: _Connection | None = None
        self._up = threading.Event()
        self._stopping = threading.Event()
        self._published: Counter[str] = Counter()
        self._count_lock = threading.Lock()
        self._inbox: Inbox | None = None
        self._thread: threading.Thread | None = None

    def start(self, fleet: Fleet) -> None:
        """Begins to connect; messages go to `fleet`."""
        self._inbox = Inbox(fleet, self._topics)
        self._inbox.start()
        self._thread = threading.Thread(
            target=self._run, args=(fleet, self._inbox), name="gateway", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Disconnects, and returns when all that was received has been handed over."""
        self._stopping.set()
        connection = self._connection
        if connection is not None:
            connection.lost.set()
        if self._thread is not None:
            self._thread.join()
        if self._inbox is not None:
            self._inbox.stop()

    def publish(self, message: Desired | Command) -> bool:
        """Hands a message to the connection: desired state retained, commands not.

        Returns:
            False when there is no connection or its queue is full; nothing was sent then.

        Raises:
            OversizedMessageError: the message is larger than the contract allows.
        """
        connection = self._connection
        if connection is None:
            return False
        channel = channel_of(message)
        assert isinstance(channel, DownChannel)
        topic = self._topics.down(message.device, channel)
        sent = connection.publish(topic, encode(message), retain=isinstance(message, Desired))
        if sent:
            with self._count_lock:
                self._published[channel.value] += 1
        return sent

    def connected(self) -> bool:
        """Whether messages flow now."""
        return self._up.is_set()

    def wait_connected(self, seconds: float) -> bool:
        """Waits until messages flow; False when that takes longer than `seconds`."""
        return self._up.wait(seconds)

    def published(self) -> Mapping[str, int]:
        """Messages handed to the broker since the start, by channel."""
        with self._count_lock:
            return dict(self._published)

    def _run(self, fleet: Fleet, inbox: Inbox) -> None:
        shortest, longest = _BACKOFF_SECONDS
        pause = shortest
        while not self._stopping.is_set():
            if self._serve_one_connection(fleet, inbox):
                pause = shortest
            self._stopping.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load
            pause = min(pause * 2, longest)

    def _serve_one_connection(self, fleet: Fleet, inbox: Inbox) -> bool:
        """Connects and stays until the connection is lost; True if messages flowed."""
        connection = _Connection(self._endpoint, self._client_id, self._topics.all_up(), inbox)
        try:
            connection.open()
            self._connection = connection
            fleet.broker_connected()
            self._up.set()
            _log.info("connected to the broker at %s", self._endpoint.url)
            if not self._stopping.is_set():
                connection.lost.wait()
        except (OSError, ValueError) as error:
            _log.warning("no connection to %s: %s", self._endpoint.url, error)
            return False
        except Exception:  # noqa: BLE001 - desired state did not go out whole: begin again
            _log.exception("publishing desired state failed; connecting again")
            return False
        finally:
            self._up.clear()
            self._connection = None
            connection.close()
        return True


class _Connection:
    """One connection from CONNECT to its end, never used again.

    Attributes:
        lost: set when the connection has ended or is to end.
    """

    def __init__(
        self, endpoint: BrokerEndpoint, client_id: str, subscription: str, inbox: Inbox
    ) -> None:
        self.lost = threading.Event()
        self._ready = threading.Event()
        self._refusal = ""
        self._endpoint = endpoint
        self._subscription = subscription
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, reconnect_on_failure=False
        )
        client.connect_timeout = _CONNECT_SECONDS
        client.max_inflight_messages_set(_IN_FLIGHT_COUNT)
        client.max_queued_messages_set(_QUEUED_COUNT)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = lambda _client, _data, message: inbox.put(
            message.topic, bytes(message.payload)
        )
        self._client = client

    def open(self) -> None:
        """Connects and subscribes.

        Raises:
            OSError: nobody listens, or the broker refuses, or it does not answer in time.
            ValueError: the TLS settings cannot be used.
        """
        endpoint = self._endpoint
        if endpoint.tls:
            self._client.tls_set(ca_certs=str(endpoint.ca_file) if endpoint.ca_file else None)
        if endpoint.username is not None:
            self._client.username_pw_set(endpoint.username, endpoint.password())
        self._client.connect(endpoint.host, endpoint.port, _KEEPALIVE_SECONDS)
        self._client.loop_start()
        if not self._ready.wait(_CONNECT_SECONDS):
            raise OSError("the broker did not answer in time")
        if self._refusal:
            raise OSError(f"the broker refused: {self._refusal}")

    def publish(self, topic: str, payload: bytes, retain: bool) -> bool:
        """Queues a message; False when it was not taken."""
        if self.lost.is_set():
            return False
        return (
            self._client.publish(topic, payload, _QOS, retain).rc == MQTTErrorCode.MQTT_ERR_SUCCESS
        )

    def close(self) -> None:
        """Says goodbye and ends the client's thread."""
        self.lost.set()
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: mqtt.Client, *rest: Any) -> None:
        code = rest[2]
        if code.is_failure:
            self._end(str(code))
        else:
            client.subscribe(self._subscription, _QOS)

    def _on_subscribe(self, *arguments: Any) -> None:
        refused = [str(code) for code in arguments[3] if code.is_failure]
        if refused:
            self._end(f"subscription {self._subscription}: {refused[0]}")
        self._ready.set()

    def _on_disconnect(self, *arguments: Any) -> None:
        self._end(self._refusal or f"disconnected: {arguments[3]}")

    def _end(self, why: str) -> None:
        self._refusal = why
        self.lost.set()
        self._ready.set()
