"""`fitment up`: the whole controller in one process tree."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitment_contract.topics import DEFAULT_ROOT
from fitment_controller.cli import options
from fitment_controller.cli.failures import say
from fitment_controller.settings import (
    DEFAULT_BROKER_PORT,
    DEFAULT_PORT,
    BrokerEngine,
    load_settings,
)

if TYPE_CHECKING:
    from fitment_controller.wiring import RunningController


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("up")(up)


def up(
    data: options.Data = None,
    listen: Annotated[
        str | None,
        typer.Option(help="Address to listen on; others than loopback ask for tokens."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help=f"Of the API; 0 for any free one [{DEFAULT_PORT}].")
    ] = None,
    advertise: Annotated[
        str | None, typer.Option(help="Host name or address that devices are told.")
    ] = None,
    embedded_broker: Annotated[
        BrokerEngine | None, typer.Option(help="Which broker to start [auto].")
    ] = None,
    broker_port: Annotated[
        int | None,
        typer.Option(help=f"Of that broker; 0 for any free one [{DEFAULT_BROKER_PORT}]."),
    ] = None,
    broker: Annotated[
        str | None, typer.Option(help="Use this one instead: mqtt[s]://[user@]host[:port].")
    ] = None,
    broker_password_file: Annotated[Path | None, typer.Option(help="For --broker.")] = None,
    broker_ca_file: Annotated[Path | None, typer.Option(help="For --broker mqtts://.")] = None,
    topic_root: Annotated[str | None, typer.Option(help="Leading topic levels [fitment].")] = None,
    lease_seconds: Annotated[
        float | None, typer.Option(help="Silence after which a device is offline [45].")
    ] = None,
    trial_seconds: Annotated[
        float | None, typer.Option(help="How long devices time a variant, at least [10].")
    ] = None,
    trial_limit_seconds: Annotated[
        float | None, typer.Option(help="After which a device gives a trial up [180].")
    ] = None,
    profiles: Annotated[
        Path | None, typer.Option(help="Folder with your own profiles, over the built-in ones.")
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Written as JSON once everything answers.")
    ] = None,
) -> None:
    """Start broker, database, API and artifact server. Ends on Ctrl-C or SIGTERM."""
    settings = load_settings(
        {
            "data_dir": data,
            "listen": listen,
            "port": port,
            "advertise": advertise,
            "embedded_broker": embedded_broker,
            "broker_port": broker_port,
            "broker_url": broker,
            "broker_password_file": broker_password_file,
            "broker_ca_file": broker_ca_file,
            "topic_root": topic_root,
            "lease_seconds": lease_seconds,
            "trial_seconds": trial_seconds,
            "trial_limit_seconds": trial_limit_seconds,
            "profiles_dir": profiles,
            "ready_file": ready_file,
        }
    )
    from fitment_controller.wiring import running_controller

    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    for chatty in ("alembic", "httpx", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    wait_for_signal = _catch_signals()
    with running_controller(settings) as controller:
        _greet(controller)
        wait_for_signal()
        say("stopping")


def _catch_signals() -> Callable[[], object]:
    """Begins to catch SIGINT and SIGTERM; the result returns once one has come.

    A pipe that the interpreter writes to the moment the signal arrives: a handler written in
    Python would run only when the main thread is next at a bytecode, which it is not while it
    blocks, and one that sets a `threading.Event` may interrupt the wait that holds its lock.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # without a handler it would end the process
    return lambda: os.read(reader, 1)


def _greet(controller: RunningController) -> None:
    """Where everything is, and how the first device joins."""
    addresses = controller.addresses
    say(f"controller   {addresses.url}  (data in {addresses.data_dir})")
    say(f"broker       {addresses.broker_url}  ({controller.engine})")
    join = f"fitment-agent run --broker {addresses.broker_url}"
    if addresses.topic_root != DEFAULT_ROOT:
        join += f" --topic-root {addresses.topic_root}"
    if addresses.device_token_file is not None:
        say(f"API token    {addresses.api_token_file}")
        say(f"device token {addresses.device_token_file}: copy it to each device")
        join += " --password-file device-token --artifact-token-file device-token"
    say(f"join         {join}")
    if controller.exposed:
        say("warning: HTTP and MQTT are not encrypted here; use a network that you trust")
