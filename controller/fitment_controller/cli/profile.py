"""`fitment profile`: device classes, regions and objectives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fitment_controller.cli import options, output
from fitment_controller.cli.failures import ExitStatus, say
from fitment_controller.cli.output import Format, Item
from fitment_controller.client import quoted

_profiles = typer.Typer(help="Device classes, regions and objectives.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(_profiles, name="profile")


@_profiles.callback()
def _profile() -> None:
    """Device classes, regions and objectives."""


@_profiles.command("validate")
def validate_profiles(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files or folders.")],
    format: options.Output = Format.TABLE,
) -> None:
    """Check profile files, without a controller. Exit status 2 when one is invalid."""
    from fitment_controller.profiles import validate

    problems = [
        {"file": str(item.path), "line": item.line, "what": item.what, "fix": item.fix}
        for item in validate(paths)
    ]
    document = {"apiVersion": "fitment/v1", "kind": "ProfileProblems", "items": problems}
    output.emit(document, format, _problems, name="file")
    if problems:
        say(f"{len(problems)} problems")
        raise typer.Exit(ExitStatus.USAGE)
    say("valid")


@_profiles.command("get")
def get_profile(
    name: Annotated[
        str | None, typer.Argument(help="One profile, whole; all when left out.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="DeviceClass, Region or Objective.")] = None,
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """Show the profiles in force, or one as YAML."""
    api = options.client(url, token_file, data)
    if name is None:
        document = api.get("/v1/profiles")
        items = [item for item in document["items"] if kind in (None, item["kind"])]
        output.emit({**document, "items": items}, format, _table, name="name")
        return
    found: dict[str, Any] = api.get(f"/v1/profiles{quoted(name)}", {"kind": kind})
    shown = Format.YAML if format is Format.TABLE else format
    output.emit(found, shown, _table, name="name")


def _table(document: Item) -> list[str]:
    return output.rows(
        [
            ("KIND", lambda item: item["kind"]),
            ("NAME", lambda item: item["name"]),
            ("TITLE", lambda item: item["title"]),
            ("SOURCE", lambda item: item["source"]),
        ],
        document["items"],
    )


def _problems(document: Item) -> list[str]:
    return [
        f"{item['file']}:{item['line']}: {item['what']}; {item['fix']}"
        for item in document["items"]
    ]
