"""Eclipse Mosquitto with a generated configuration."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fitment_contract.topics import Topics
from fitment_controller.broker.base import BrokerEndpoint, BrokerLogins
from fitment_controller.broker.embedded import EmbeddedBroker, EmbeddedEngine
from fitment_controller.broker.passwords import write_password_file
from fitment_controller.broker.probe import bracketed, loopback_of

_CONTROLLER = "controller"
_DEVICE = "device"
_SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
_SAVE_SECONDS = 5
_PACKET_LIMIT_BYTES = 1024 * 1024
"""Above the contract's cap, so that the controller sees, refuses and counts what is too large."""

_USER_LINES = ["user root"] if os.geteuid() == 0 else []
"""Started by root, Mosquitto would become a user who cannot read what root wrote."""


def find_mosquitto() -> Path | None:
    """The broker's program; Debian puts it where users' PATH does not look."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path=":".join(_SYSTEM_FOLDERS))
    return Path(found) if found else None


def mosquitto_broker(
    program: Path,
    directory: Path,
    host: str,
    port: int,
    topics: Topics,
    logins: BrokerLogins | None,
) -> EmbeddedBroker:
    """Writes the configuration and returns the broker, not yet started.

    Args:
        program: the mosquitto binary.
        directory: for configuration, persistence and log; created when missing.
        host: where it listens.
        port: the same.
        topics: spells the access rules.
        logins: passwords to ask for; None lets anybody in, which is for loopback only.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    lines = [*_base_lines(directory, host, port), *_access_lines(directory, topics, logins)]
    configuration = directory / "mosquitto.conf"
    configuration.write_text("\n".join(lines) + "\n")
    engine = EmbeddedEngine(
        name="mosquitto",
        arguments=(str(program), "-c", str(configuration)),
        directory=directory,
        host=host,
        port=port,
    )
    endpoint = BrokerEndpoint(
        url=f"mqtt://{bracketed(loopback_of(host))}:{port}",
        username=_CONTROLLER if logins else None,
        password_file=logins.controller if logins else None,
    )
    return EmbeddedBroker(engine, endpoint)


def _base_lines(directory: Path, host: str, port: int) -> list[str]:
    return [
        "# Written by `fitment up` at every start; changes are lost.",
        f"listener {port} {host}",
        *_USER_LINES,
        "persistence true",
        f"persistence_location {directory}/",
        f"autosave_interval {_SAVE_SECONDS}",
        "max_inflight_messages 0",
        "max_queued_messages 0",  # a bounded queue drops messages that it has acknowledged
        f"max_packet_size {_PACKET_LIMIT_BYTES}",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "connection_messages false",
    ]


def _access_lines(directory: Path, topics: Topics, logins: BrokerLogins | None) -> list[str]:
    if logins is None:
        return ["allow_anonymous true"]
    passwords, rules = directory / "passwords", directory / "access"
    write_password_file(
        passwords,
        {
            _CONTROLLER: logins.controller.read_text().strip(),
            _DEVICE: logins.device.read_text().strip(),
        },
    )
    rules.write_text(
        f"user {_CONTROLLER}\ntopic readwrite #\n\n"
        f"user {_DEVICE}\ntopic write {topics.all_up()}\ntopic read {topics.all_down()}\n"
    )
    rules.chmod(0o600)
    return ["allow_anonymous false", f"password_file {passwords}", f"acl_file {rules}"]
