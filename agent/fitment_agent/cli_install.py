"""`fitment-agent install`, `uninstall` and `doctor`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitment_agent.cli_parts import ConfigOption, Output, OutputOption, StateOption, print_result
from fitment_agent.screens import Screen, table

if TYPE_CHECKING:
    from fitment_agent.install.machine import Machine
    from fitment_agent.install.managers import Manager
    from fitment_agent.install.steps import Result, Step

SystemdOption = Annotated[bool, typer.Option("--systemd", help="As a systemd service.")]
RunitOption = Annotated[bool, typer.Option("--runit", help="As a runit service.")]
TermuxOption = Annotated[bool, typer.Option("--termux", help="On a phone, with Termux:Boot.")]
DryOption = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
PrefixOption = Annotated[
    Path, typer.Option("--root-prefix", help="Work on the system below this folder; runs nothing.")
]
BrokerOption = Annotated[
    str | None, typer.Option(help="mqtt://[user@]host:port, or mqtts:// for TLS.")
]
PasswordOption = Annotated[Path | None, typer.Option(help="Holds the broker password alone.")]
CaOption = Annotated[Path | None, typer.Option(help="Certificates to trust for mqtts.")]
TokenOption = Annotated[
    Path | None, typer.Option(help="Holds the bearer token for artifact downloads.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (install, uninstall, doctor):
        app.command()(command)


def install(
    output: OutputOption = Output.TABLE,
    systemd: SystemdOption = False,
    runit: RunitOption = False,
    termux: TermuxOption = False,
    dry_run: DryOption = False,
    root_prefix: PrefixOption = Path("/"),
    program: Annotated[
        str | None, typer.Option(help="The fitment-agent to start; this one by default.")
    ] = None,
    broker: BrokerOption = None,
    password_file: PasswordOption = None,
    artifact_token_file: TokenOption = None,
    ca_file: CaOption = None,
    device_id: Annotated[
        str | None, typer.Option(help="One topic level; derived from the machine by default.")
    ] = None,
    topic_root: Annotated[str | None, typer.Option(help="Leading levels of all topics.")] = None,
    region: Annotated[str | None, typer.Option(help="The place this device is in.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="key=value; may be given several times.")
    ] = None,
    metered: Annotated[
        bool | None, typer.Option("--metered/--unmetered", help="Whether the link costs by byte.")
    ] = None,
) -> None:
    """Make the agent a service that starts with the device. Run it again to change or repair it.

    Settings given here are written to the agent's configuration file; files with secrets are
    copied to where only the service can read them.
    """
    from fitment_agent.install.answers import Answers
    from fitment_agent.install.managers import check_possible, find_manager
    from fitment_agent.install.program import this_program
    from fitment_agent.install.steps import install as do

    given = {
        "broker_url": broker,
        "password_file": password_file,
        "artifact_token_file": artifact_token_file,
        "ca_file": ca_file,
        "device_id": device_id,
        "topic_root": topic_root,
        "region": region,
        "labels": _labels(label),
        "metered": metered,
    }
    machine = _machine(root_prefix)
    manager = find_manager(_chosen(systemd=systemd, runit=runit, termux=termux), machine)
    answers = Answers(
        program=program or this_program(),
        settings={key: value for key, value in given.items() if value is not None},
    )
    if not dry_run:
        check_possible(manager, answers, machine, _this_command())
    steps = manager.steps(answers, machine)
    screen = _screen([manager], do(steps, machine, dry_run), dry_run)
    if dry_run:
        screen["files"] = _contents(steps)
    print_result(output, "Installation", screen, _text)


def uninstall(
    output: OutputOption = Output.TABLE,
    systemd: SystemdOption = False,
    runit: RunitOption = False,
    termux: TermuxOption = False,
    keep_state: Annotated[
        bool, typer.Option("--keep-state", help="Leave settings, models and the agent's user.")
    ] = False,
    dry_run: DryOption = False,
    root_prefix: PrefixOption = Path("/"),
) -> None:
    """Stop the service and remove it with its settings, its models and its user."""
    from fitment_agent.install.answers import Answers
    from fitment_agent.install.managers import check_allowed, managers_to_clear
    from fitment_agent.install.steps import uninstall as undo

    machine = _machine(root_prefix)
    named = _chosen(systemd=systemd, runit=runit, termux=termux)
    managers = managers_to_clear(named, machine)
    answers = Answers(program="", settings=None, keep_state=keep_state)
    results = []
    for manager in managers:
        if not dry_run:
            check_allowed(manager, machine, _this_command())
        results += undo(manager.steps(answers, machine), machine, dry_run)
    screen = _screen(managers, [one for one in results if one.was_there], dry_run)
    print_result(output, "Uninstallation", screen, _text)


def doctor(
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
    state_dir: StateOption = None,
    root_prefix: Annotated[
        Path | None, typer.Option(help="Where /proc, /sys and /etc are found.")
    ] = None,
    broker: BrokerOption = None,
    password_file: PasswordOption = None,
    artifact_token_file: TokenOption = None,
    ca_file: CaOption = None,
) -> None:
    """Look for what keeps the agent from working, and name the command that mends it.

    Exit code 1 when something fails.
    """
    from fitment_agent.doctor.examination import examine, findings_screen, findings_text

    flags = {
        "state_dir": state_dir,
        "root_prefix": root_prefix,
        "broker_url": broker,
        "password_file": password_file,
        "artifact_token_file": artifact_token_file,
        "ca_file": ca_file,
    }
    screen = findings_screen(examine(flags, config))
    print_result(output, "Diagnosis", screen, findings_text)
    if not screen["healthy"]:
        raise typer.Exit(1)


def _machine(root_prefix: Path) -> Machine:
    from fitment_agent.install.machine import Machine

    return Machine.at(root_prefix)


def _chosen(**wanted: bool) -> str | None:
    names = [name for name, chosen in wanted.items() if chosen]
    if len(names) > 1:
        raise typer.BadParameter(f"--{' and --'.join(names)} exclude each other")
    return names[0] if names else None


def _labels(pairs: list[str] | None) -> dict[str, str] | None:
    if not pairs:
        return None
    for pair in pairs:
        if "=" not in pair:
            raise typer.BadParameter(f"{pair!r} is no label: write key=value")
    return dict(pair.split("=", 1) for pair in pairs)


def _this_command() -> str:
    """What the person typed, with the program by its full path: sudo has another search path."""
    import shlex

    program = Path(sys.executable).parent / "fitment-agent"
    return shlex.join([str(program), *sys.argv[1:]])


def _screen(managers: list[Manager], results: list[Result], dry_run: bool) -> Screen:
    return {
        "managers": [manager.name for manager in managers],
        "dry_run": dry_run,
        "steps": [{"name": one.name, "outcome": one.outcome.value} for one in results],
    }


def _contents(steps: list[Step]) -> dict[str, str]:
    from fitment_agent.install.steps import Put

    return {
        step.path: "(a secret)" if step.secret else step.content.decode(errors="replace")
        for step in steps
        if isinstance(step, Put) and step.content is not None
    }


def _text(screen: Screen) -> str:
    if not screen["steps"]:
        return "nothing is installed"
    rows = [(step["outcome"], step["name"]) for step in screen["steps"]]
    head = "Nothing was changed; this is what would be:\n" if screen["dry_run"] else ""
    files = [f"\n--- {path}\n{text}" for path, text in screen.get("files", {}).items()]
    return head + "\n".join([table(rows), *files]).rstrip("\n")
