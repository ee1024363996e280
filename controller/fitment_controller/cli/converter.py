"""`fitment converter`: the environment in which ONNX becomes .tflite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from fitment_controller.cli import options, output
from fitment_controller.cli.failures import ExitStatus, say
from fitment_controller.cli.output import Format, Item
from fitment_controller.errors import ControllerError

_converter = typer.Typer(
    help="The converter to .tflite, in a Python environment of its own.", no_args_is_help=True
)

At = Annotated[
    Path | None,
    typer.Option(
        "--at",
        metavar="DIR",
        help="Its folder. [default: $FITMENT_CONVERTER, or fitment/converter in your data folder]",
        show_default=False,
    ),
]


class ConverterFailure(ControllerError):
    """The converter's environment cannot be made or removed."""

    kind = "converter"


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(_converter, name="converter")


@_converter.command("install")
def install_converter(
    python: Annotated[
        Path | None,
        typer.Option(help="A Python 3.12 or 3.13; one is looked for.", show_default=False),
    ] = None,
    at: At = None,
    format: options.Output = Format.TABLE,
) -> None:
    """Install the converter, or replace an older one. Takes about 300 MB and a minute."""
    from fitment_compress.converter import environment

    with _failures():
        found = environment.install(at, python, tell=say)
    output.emit(_document(found), format, _table, name="folder")


@_converter.command("status")
def converter_status(at: At = None, format: options.Output = Format.TABLE) -> None:
    """Show what is installed. Exit status 3 when nothing usable is."""
    from fitment_compress.converter import environment

    found = environment.status(at)
    output.emit(_document(found), format, _table, name="folder")
    if not found.installed:
        raise typer.Exit(ExitStatus.NOT_FOUND)


@_converter.command("remove")
def remove_converter(at: At = None) -> None:
    """Delete the converter's folder."""
    from fitment_compress.converter import environment

    with _failures():
        gone = environment.remove(at)
    say("there was none" if gone is None else f"removed {gone}")


@contextmanager
def _failures() -> Iterator[None]:
    """Compression's errors as the command line's."""
    from fitment_compress.errors import CompressError

    try:
        yield
    except CompressError as error:
        raise ConverterFailure(error.problem.rstrip("."), error.fix) from error


def _document(found: Any) -> dict[str, Any]:
    return {
        "apiVersion": "fitment/v1",
        "kind": "Converter",
        "folder": str(found.folder),
        "state": "installed" if found.installed else "outdated" if found.outdated else "none",
        "python": found.python,
        "sizeBytes": found.size_bytes,
        "packages": dict(found.packages),
    }


def _table(document: Item) -> list[str]:
    packages = [f"{name} {version}" for name, version in document["packages"].items()]
    lines = output.fields(
        [
            ("state", document["state"]),
            ("folder", document["folder"]),
            ("python", document["python"]),
            ("size", output.size(document["sizeBytes"] or None)),
            ("packages", ", ".join(packages)),
        ]
    )
    if document["state"] != "installed":
        lines.append("install it with: fitment converter install")
    return lines
