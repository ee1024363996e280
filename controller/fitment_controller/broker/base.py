"""What the rest of the controller knows about a broker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

PLAIN_PORT = 1883
TLS_PORT = 8883


@dataclass(frozen=True)
class BrokerEndpoint:
    """Where a broker listens and how to log in.

    Attributes:
        url: `mqtt://host:port` or `mqtts://host:port`; never with a password in it.
        username: None where the broker asks for no login.
        password_file: holds the password of `username`; read at every connection.
        ca_file: certificates to trust instead of the system's, for `mqtts`.
    """

    url: str
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None

    @property
    def host(self) -> str:
        """The host to connect to."""
        return urlsplit(self.url).hostname or "localhost"

    @property
    def port(self) -> int:
        """The port to connect to."""
        return urlsplit(self.url).port or (TLS_PORT if self.tls else PLAIN_PORT)

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.url).scheme == "mqtts"

    def password(self) -> str | None:
        """The password, without the line end that editors put after it."""
        return self.password_file.read_text().rstrip("\r\n") if self.password_file else None


@dataclass(frozen=True)
class BrokerLogins:
    """Files with the passwords of the two users that an embedded broker knows.

    Attributes:
        controller: of the user `controller`, who may publish and subscribe to everything.
        device: of the user `device`, shared by the fleet; its direction is enforced.
    """

    controller: Path
    device: Path


class Broker(Protocol):
    """A broker whose life may or may not be ours."""

    @property
    def name(self) -> str:
        """The engine's name, for people."""
        ...

    def start(self) -> BrokerEndpoint:
        """Makes the broker answer; returns where the controller connects to it.

        Raises:
            BrokerError: it does not answer.
        """
        ...

    def stop(self) -> None:
        """Ends what `start` began."""
        ...

    def healthy(self) -> bool:
        """Whether it answers now."""
        ...
