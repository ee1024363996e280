"""A broker that somebody else runs."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

from fitment_controller.broker.base import BrokerEndpoint
from fitment_controller.broker.errors import BrokerError, BrokerStartError
from fitment_controller.broker.probe import bracketed

_CONNECT_SECONDS = 3.0


class ExternalBroker:
    """Points at a broker; starting it only checks that somebody listens.

    Args:
        endpoint: where it is.
    """

    name = "external"

    def __init__(self, endpoint: BrokerEndpoint) -> None:
        self._endpoint = endpoint

    def start(self) -> BrokerEndpoint:
        """Returns the endpoint.

        Raises:
            BrokerStartError: nobody listens there.
        """
        if not self.healthy():
            raise BrokerStartError(
                f"no broker answers at {self._endpoint.url}",
                "check the address given with --broker and that the broker is running",
            )
        return self._endpoint

    def stop(self) -> None:
        """Does nothing: it is not ours."""

    def healthy(self) -> bool:
        """Whether somebody listens; the gateway knows whether it is a broker that lets us in."""
        address = (self._endpoint.host, self._endpoint.port)
        try:
            socket.create_connection(address, _CONNECT_SECONDS).close()
        except OSError:
            return False
        return True


def parse_broker_url(url: str, password_file: Path | None, ca_file: Path | None) -> BrokerEndpoint:
    """The endpoint for `mqtt[s]://[user@]host[:port]`.

    Raises:
        BrokerError: another scheme, no host, a port that is no number, or a password in the URL.
    """
    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.hostname or ''}"
    expected = "write it as mqtt://host:1883 or mqtts://user@host:8883"
    try:
        port = parts.port
    except ValueError:
        raise BrokerError(f"the port in {shown} is not a number", expected) from None
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise BrokerError(f"{shown!r} is not a broker's address", expected)
    if parts.password is not None:
        raise BrokerError(
            f"the address of {parts.hostname} holds a password, which would show in process lists",
            "put the password into a file and name it with --broker-password-file",
        )
    return BrokerEndpoint(
        url=f"{parts.scheme}://{bracketed(parts.hostname)}" + (f":{port}" if port else ""),
        username=parts.username,
        password_file=password_file,
        ca_file=ca_file,
    )
