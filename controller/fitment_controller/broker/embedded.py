"""What the two embedded engines have in common: a port, a directory and a supervised child."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fitment_controller.broker import probe
from fitment_controller.broker.base import BrokerEndpoint
from fitment_controller.broker.child import ChildCommand, SupervisedChild, reclaim_orphan
from fitment_controller.broker.errors import BrokerPortError


@dataclass(frozen=True)
class EmbeddedEngine:
    """One engine, ready to be started in `directory`.

    Attributes:
        name: for people, and of the pid and log files.
        arguments: the command line.
        directory: configuration, state, pid file and log.
        host, port: where it listens.
    """

    name: str
    arguments: Sequence[str]
    directory: Path
    host: str
    port: int


class EmbeddedBroker:
    """A broker that lives and dies with the controller.

    Args:
        engine: what to run; its configuration is written already.
        endpoint: how the controller connects to it.
    """

    def __init__(self, engine: EmbeddedEngine, endpoint: BrokerEndpoint) -> None:
        self._engine = engine
        self._endpoint = endpoint
        self._child = SupervisedChild(
            ChildCommand(
                name=engine.name,
                arguments=engine.arguments,
                pid_file=self.pid_file,
                log_file=engine.directory / f"{engine.name}.log",
                answers=self._answers,
            )
        )

    @property
    def name(self) -> str:
        """The engine's name."""
        return self._engine.name

    @property
    def pid_file(self) -> Path:
        """Holds the process id of the broker itself (not of its guard)."""
        return self._engine.directory / f"{self._engine.name}.pid"

    def start(self) -> BrokerEndpoint:
        """Starts the engine and returns once it answers.

        Raises:
            BrokerPortError: another process listens on its port.
            BrokerStartError: it ended at once or did not answer.
        """
        engine = self._engine
        reclaim_orphan(self.pid_file, engine.arguments)
        if not probe.port_is_free(engine.host, engine.port):
            raise BrokerPortError(
                f"port {engine.port} on {engine.host} is in use by another process",
                "stop that process, or choose another port with --broker-port",
            )
        self._child.start()
        return self._endpoint

    def stop(self) -> None:
        """Stops the engine and waits until it is gone."""
        self._child.stop()

    def healthy(self) -> bool:
        """Whether the process lives and answers."""
        return self._child.running() and self._answers()

    def _answers(self) -> bool:
        return probe.answers_mqtt(self._endpoint.host, self._endpoint.port)
