"""`fitment demo`: the whole loop on one machine, in a few minutes, with real processes."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from fitment_controller.cli import output
from fitment_controller.cli.failures import UsageError


class DemoFormat(str, Enum):
    """How the result is printed."""

    TABLE = "table"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("demo")(demo)


def demo(
    example: Annotated[
        str, typer.Option("--example", help="Which example model: activity or fashion.")
    ] = "activity",
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave controller and devices running at the end.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option("--folder", help="Where to write; a temporary folder by default."),
    ] = None,
    format: Annotated[
        DemoFormat, typer.Option("--output", "-o", help="How to print the result.")
    ] = DemoFormat.TABLE,
) -> None:
    """Compress a model, start a fleet of six simulated devices, roll out, and show who got what.

    The devices' hardware is declared; what they measure, they measure. Exits with 1 unless every
    device ends with its variant active and measured.
    """
    from rich.console import Console

    from fitment_controller.cli.demo.narrator import Narrator
    from fitment_controller.cli.demo.report import render
    from fitment_controller.cli.demo.story import (
        STAGES,
        DemoOptions,
        example_names,
        find_examples,
        running_demo,
    )

    examples = find_examples()
    if example not in example_names(examples):
        known = ", ".join(example_names(examples))
        raise UsageError(f"there is no example called {example!r}", f"choose one of {known}")
    narrator = Narrator(Console(stderr=True), STAGES)
    with (
        _ended_by_sigterm(),
        _workspace(folder) as place,
        running_demo(DemoOptions(example, examples, place), narrator) as report,
    ):
        if format is DemoFormat.JSON:
            output.write(json.dumps(report.document(), indent=2))
        else:
            Console(width=None if sys.stdout.isatty() else 200).print(render(report))
        if keep:
            narrator.say(f"still running at {report.url}; Ctrl-C stops everything", "bold")
            narrator.say(f"try: fitment device list --url {report.url}")
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
    if not report.succeeded:
        raise typer.Exit(1)


@contextmanager
def _workspace(folder: Path | None) -> Iterator[Path]:
    """The folder to write to, readable by its owner only; a temporary one goes away at the end.

    Raises:
        UsageError: the named folder holds something already.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="fitment-demo-") as name:
            yield Path(name)
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty", "name a new folder with --folder")
    yield folder.absolute()


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Lets SIGTERM end as orderly as Ctrl-C does, so that no process is left behind."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
