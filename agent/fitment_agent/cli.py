"""The device's command line: `fitment-agent`.

Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 error,
2 wrong use or settings, 3 not found, 5 conflict, 8 timeout, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from fitment_agent import cli_install, control, facts_screen, screens
from fitment_agent.cli_bench import bench
from fitment_agent.cli_parts import (
    ConfigOption,
    FactsOption,
    ModelArgument,
    Output,
    OutputOption,
    RootOption,
    StateOption,
    print_result,
    read_state,
)
from fitment_agent.cli_tune import tune
from fitment_agent.errors import (
    AgentError,
    AlreadyRunningError,
    DaemonTimeoutError,
    FactsFileError,
    RollbackRefusedError,
    SettingsError,
    UnknownModelError,
)
from fitment_agent.settings import Settings, load_settings, runtime_environment

_EXIT_CODES: Final[dict[type[AgentError], int]] = {
    SettingsError: 2,
    FactsFileError: 2,
    UnknownModelError: 3,
    RollbackRefusedError: 5,
    AlreadyRunningError: 5,
    DaemonTimeoutError: 8,
}

app = typer.Typer(
    help="Bring models onto this device, prove them here, and report what was measured.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"fitment-agent {version('fitment')}")
        raise typer.Exit


@app.callback()
def _fitment_agent(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Bring models onto this device, prove them here, and report what was measured."""


@app.command()
def run(
    config: ConfigOption = None,
    state_dir: StateOption = None,
    facts: FactsOption = None,
    root_prefix: RootOption = None,
    device_id: Annotated[
        str | None, typer.Option(help="One topic level; derived from the machine by default.")
    ] = None,
    broker: Annotated[
        str | None, typer.Option(help="mqtt://[user@]host:port, or mqtts:// for TLS.")
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="Holds the broker password alone.")
    ] = None,
    ca_file: Annotated[Path | None, typer.Option(help="Certificates to trust for mqtts.")] = None,
    topic_root: Annotated[str | None, typer.Option(help="Leading levels of all topics.")] = None,
    region: Annotated[str | None, typer.Option(help="The place this device is in.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="key=value; may be given several times.")
    ] = None,
    metered: Annotated[
        bool | None, typer.Option("--metered/--unmetered", help="Whether the link costs by byte.")
    ] = None,
    artifact_token_file: Annotated[
        Path | None, typer.Option(help="Holds the bearer token for artifact downloads.")
    ] = None,
    heartbeat_seconds: Annotated[
        float | None, typer.Option(help="Between two signs of life.")
    ] = None,
) -> None:
    """Run the agent until it is told to stop."""
    settings = load_settings(
        {
            "state_dir": state_dir,
            "facts_file": facts,
            "root_prefix": root_prefix,
            "device_id": device_id,
            "broker_url": broker,
            "password_file": password_file,
            "ca_file": ca_file,
            "topic_root": topic_root,
            "region": region,
            "labels": label or None,
            "metered": metered,
            "artifact_token_file": artifact_token_file,
            "heartbeat_seconds": heartbeat_seconds,
        },
        config_file=config,
    )
    # The daemon lives for months in little memory: it is a process of its own, without the
    # libraries of this command line.
    command = [sys.executable, "-m", "fitment_agent.daemon_main", settings.to_json()]
    os.execve(sys.executable, command, runtime_environment())  # noqa: S606 - no shell is wanted


@app.command()
def probe(
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
    state_dir: StateOption = None,
    facts: FactsOption = None,
    root_prefix: RootOption = None,
) -> None:
    """Show exactly what the device would report about itself, and where each value is from.

    Nothing is sent.
    """
    flags = {"state_dir": state_dir, "facts_file": facts, "root_prefix": root_prefix}
    settings = load_settings(flags, config_file=config)
    screen = facts_screen.facts_screen(settings, facts_screen.read_device(settings))
    print_result(output, "DeviceFacts", screen, facts_screen.facts_text)


app.command()(bench)
app.command()(tune)
cli_install.register(app)


@app.command()
def status(
    output: OutputOption = Output.TABLE, config: ConfigOption = None, state_dir: StateOption = None
) -> None:
    """Show whether the agent runs, and how far each model is."""
    settings = load_settings({"state_dir": state_dir}, config_file=config)
    state, journal = read_state(settings)
    screen = screens.status_screen(settings, state, journal)
    print_result(output, "AgentStatus", screen, screens.status_text)


@app.command()
def models(
    output: OutputOption = Output.TABLE, config: ConfigOption = None, state_dir: StateOption = None
) -> None:
    """List what applications on this device can use."""
    from fitment_agent.activation import Pointers

    settings = load_settings({"state_dir": state_dir}, config_file=config)
    screen = screens.models_screen(Pointers(settings.state_dir), settings.state_dir)
    print_result(output, "ModelList", screen, screens.models_text)


@app.command()
def rollback(
    model: ModelArgument,
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
    state_dir: StateOption = None,
) -> None:
    """Take a model back: stop a deployment under way, or return to the previous variant."""
    from fitment_agent.activation import Pointers

    settings = load_settings({"state_dir": state_dir}, config_file=config)
    agent = control.running_agent(settings.state_dir)
    if agent is not None:
        control.ask(settings.state_dir, agent.pid, {"command": "rollback", "model": model})
    else:
        _roll_back_here(settings, model)
    pointer = Pointers(settings.state_dir).read(model)
    variant = pointer.current.variant if pointer else None
    text = f"{model} now uses {variant or 'nothing'}"
    print_result(output, "Rollback", {"model": model, "variant": variant}, lambda _: text)


def main() -> None:
    """The entry point: errors become one line and an exit code."""
    try:
        app()
    except AgentError as error:
        sys.stderr.write(f"fitment-agent: {error}\n")
        sys.exit(_EXIT_CODES.get(type(error), 1))


def _roll_back_here(settings: Settings, model: str) -> None:
    from fitment_agent.journal import Journal
    from fitment_agent.wiring import JOURNAL_FILE, build_state

    journal = Journal(settings.state_dir / JOURNAL_FILE)
    try:
        build_state(settings, journal).withdraw(model, "rolled back on the device")
    finally:
        journal.close()


if __name__ == "__main__":
    main()
