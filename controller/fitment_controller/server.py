"""A running controller: every part started in order, stopped in the reverse one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from fitment_contract.topics import DEFAULT_ROOT
from fitment_controller.errors import ConflictError, ControllerError
from fitment_controller.views.envelope import API_VERSION

_log = logging.getLogger(__name__)

READY_FILE = "ready.json"
_LOCK_FILE = "lock"
_TICK_SECONDS = 0.5
_START_LIMIT_SECONDS = 30.0
_SHUTDOWN_SECONDS = 3


class ServerError(ControllerError):
    """The controller cannot begin to serve."""

    kind = "server"


@dataclass(frozen=True)
class Addresses:
    """Where everything is, for people, scripts and devices.

    Attributes:
        url: of the API, from this machine.
        artifacts_url: prefix of artifacts, as devices reach it.
        broker_url: as devices reach it; the login is `device` with the device token where asked.
        topic_root: leading topic levels that devices must use too.
        api_token_file: None on loopback.
        device_token_file: None on loopback.
    """

    data_dir: Path
    url: str
    artifacts_url: str
    broker_url: str
    topic_root: str = DEFAULT_ROOT
    api_token_file: Path | None = None
    device_token_file: Path | None = None

    def document(self) -> dict[str, Any]:
        """What the ready file holds."""
        paths = {
            "data_dir": self.data_dir,
            "api_token_file": self.api_token_file,
            "device_token_file": self.device_token_file,
        }
        return {
            "apiVersion": API_VERSION,
            "kind": "Ready",
            "pid": os.getpid(),
            "url": self.url,
            "artifacts_url": self.artifacts_url,
            "broker_url": self.broker_url,
            "topic_root": self.topic_root,
            **{name: str(path) if path else None for name, path in paths.items()},
        }


@contextlib.contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Holds a data directory; the lock ends with the process, however that ends.

    Raises:
        ConflictError: another controller holds it.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data_dir / _LOCK_FILE).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise ConflictError(
                f"another controller (process {holder}) uses {data_dir}",
                "stop it first, or choose another directory with --data",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket for the API, bound before anything is told its address; the caller closes it.

    Raises:
        ServerError: the address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
    except OSError as error:
        server.close()
        raise ServerError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            "choose another port with --port, or 0 for any free one",
        ) from None
    return server


class HttpServer:
    """Uvicorn in a thread of its own.

    Args:
        server_socket: already bound; closed by its owner.
    """

    def __init__(self, server_socket: socket.socket) -> None:
        self._socket = server_socket
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def start(self, app: Starlette) -> None:
        """Returns once requests are answered.

        Raises:
            ServerError: that did not happen in time.
        """
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
        server = self._server = uvicorn.Server(config)
        thread = self._thread = threading.Thread(
            target=server.run, kwargs={"sockets": [self._socket]}, name="http", daemon=True
        )
        thread.start()
        deadline = time.monotonic() + _START_LIMIT_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise ServerError("the HTTP server did not start", "read the log")
            time.sleep(0.01)

    def stopping(self) -> bool:
        """Whether open streams are to end."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Finishes what is under way and ends."""
        self._stopping.set()
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()


class Ticker:
    """Calls something about twice a second; a failure is logged and the next call comes anyway.

    Args:
        tick: what to call.
    """

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)

    def start(self) -> None:
        """Begins to call."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the call under way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_SECONDS):
            try:
                self._tick()
            except Exception:  # noqa: BLE001 - one bad tick must not be the last
                _log.exception("a tick failed")


def write_ready_file(path: Path, addresses: Addresses) -> None:
    """Atomically: a script that waits for the file reads it the moment it appears."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(addresses.document(), indent=1) + "\n")
    scratch.replace(path)
