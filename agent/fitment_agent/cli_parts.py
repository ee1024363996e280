"""What the commands of `fitment-agent` share: options, reading facts and state, printing."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitment_agent import screens
from fitment_agent.settings import Settings

if TYPE_CHECKING:
    from fitment_agent.journal import Journal
    from fitment_agent.state import AgentState
    from fitment_contract.device import DeviceFacts


class Output(str, Enum):
    """How a command prints its result."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("-o", "--output", help="table or json")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Read this file instead of the standard ones.")
]
StateOption = Annotated[
    Path | None, typer.Option("--state-dir", help="Where blobs, pointers and journal are.")
]
FactsOption = Annotated[
    Path | None,
    typer.Option("--facts", help="JSON with declared facts; the device is then simulated."),
]
RootOption = Annotated[
    Path | None, typer.Option("--root-prefix", help="Where /proc, /sys and /etc are found.")
]
ModelArgument = Annotated[str, typer.Argument(help="The model's name.")]


def read_facts(settings: Settings) -> DeviceFacts:
    """What this device is and has; runtimes are looked at by a worker unless they are declared."""
    from fitment_agent.facts_screen import read_device

    return read_device(settings).facts


def read_state(settings: Settings) -> tuple[AgentState, Journal]:
    """The agent's state as it is on disk; nothing is changed."""
    from fitment_agent.journal import Journal
    from fitment_agent.wiring import JOURNAL_FILE, build_state

    path = settings.state_dir / JOURNAL_FILE
    journal = Journal.read_only(path) if path.exists() else Journal(Path(":memory:"))
    return build_state(settings, journal), journal


def print_result(
    output: Output, kind: str, screen: screens.Screen, text: Callable[[screens.Screen], str]
) -> None:
    """The result of a command: as JSON, or as the table that `text` makes of the same object."""
    typer.echo(screens.as_json(kind, screen) if output is Output.JSON else text(screen))
