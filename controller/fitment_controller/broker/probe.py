"""Small questions about ports and brokers, answered by connecting."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct

_PROTOCOL = b"\x00\x04MQTT\x04"
_CLEAN_SESSION = b"\x02"
_CONNACK = 0x20


def answers_mqtt(host: str, port: int, timeout_seconds: float = 2.0) -> bool:
    """Whether a broker at `host:port` answers an MQTT 3.1.1 CONNECT, be it with a refusal.

    A refusal is an answer: the probe carries no login.
    """
    client = b"fitment-probe"
    body = _PROTOCOL + _CLEAN_SESSION + struct.pack("!HH", 10, len(client)) + client
    try:
        with socket.create_connection((host, port), timeout_seconds) as connection:
            connection.settimeout(timeout_seconds)
            connection.sendall(bytes([0x10, len(body)]) + body)
            answer = connection.recv(4)
            if answer[:1] != bytes([_CONNACK]):
                return False
            with contextlib.suppress(OSError):
                connection.sendall(b"\xe0\x00")  # DISCONNECT: a probe leaves no broken session
            return True
    except OSError:
        return False


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen on `host:port` now."""
    with contextlib.closing(_listening_socket(host)) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str) -> int:
    """A port on which nobody listens at the moment."""
    with contextlib.closing(_listening_socket(host)) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def loopback_of(host: str) -> str:
    """The address by which this machine reaches its own server listening on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


def bracketed(host: str) -> str:
    """`host` as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Whether `host` can be reached from this machine only.

    A name other than `localhost` never counts, whatever it looks like: anybody may own
    `127.0.0.1.example.org` and point it anywhere.
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listening_socket(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    probe = socket.socket(family, socket.SOCK_STREAM)
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the brokers themselves do
    return probe
