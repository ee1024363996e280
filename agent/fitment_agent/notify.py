"""Tells the service manager that the agent is up and alive: the protocol of sd_notify(3).

Datagrams to a Unix socket, whose name may begin with `@` for the abstract name space. Where no
service manager listens, nothing is said.
"""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServiceManager:
    """Who started the agent, and what it wants to hear.

    Attributes:
        address: of its socket; None when nobody listens.
        watchdog_seconds: it restarts an agent that was silent for so long; None when it does not.
    """

    address: str | None = None
    watchdog_seconds: float | None = None


class Notifier:
    """Speaks with the service manager; no failure of that is worth more than a line in the log.

    Args:
        manager: who listens.
    """

    def __init__(self, manager: ServiceManager) -> None:
        self._address = manager.address
        self.alive_seconds = manager.watchdog_seconds / 2 if manager.watchdog_seconds else None

    def ready(self) -> None:
        """The agent works."""
        self._say("READY=1")

    def alive(self) -> None:
        """The loop turns."""
        self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """The agent was told to stop."""
        self._say("STOPPING=1")

    def _say(self, line: str) -> None:
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.sendto(line.encode(), address)
        except OSError as error:
            _log.warning("the service manager does not listen: %s", error)
