"""`fitment event tail`: the one log."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from fitment_controller.cli import options, output
from fitment_controller.cli.output import Format, Item
from fitment_controller.client import Client

_events = typer.Typer(help="The log of everything that happened.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(_events, name="event")


@_events.callback()
def _event() -> None:
    """The log of everything that happened."""


@_events.command()
def tail(
    count: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=1000, help="Begin with the last N.")
    ] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on for ever.")] = False,
    device: Annotated[str | None, typer.Option(help="Only about this device.")] = None,
    rollout: Annotated[str | None, typer.Option(help="Only about this rollout.")] = None,
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """Print the newest events; with -f, follow."""
    api = options.client(url, token_file, data)
    wanted = {"device": device, "rollout": rollout}
    newest = _newest_id(api)
    recent = api.get("/v1/events", {"recent": max(count, 1), **wanted})
    shown = [entry for entry in recent["items"] if count and entry["id"] <= newest]
    if not follow and format in (Format.JSON, Format.YAML):
        output.emit({**recent, "items": shown}, format, lambda _: [])
        return
    for entry in shown:
        _print(entry, format)
    for entry in api.events(newest) if follow else ():
        if all(value is None or entry[name] == value for name, value in wanted.items()):
            _print(entry, format)


def _newest_id(api: Client) -> int:
    """Where following begins: asked for first, so that nothing falls between."""
    newest = api.get("/v1/events", {"recent": 1})["items"]
    return int(newest[-1]["id"]) if newest else 0


def _print(entry: Item, format: Format) -> None:
    """One entry on one line, so that a followed log can be piped."""
    if format in (Format.JSON, Format.JSONL, Format.YAML):
        output.write(json.dumps(entry, ensure_ascii=False))
        return
    if format is Format.NAME:
        output.write(str(entry["id"]))
        return
    where = entry["device"] or entry["rollout"] or entry["actor"]
    level = output.paint(output.state(entry["level"]), 9)
    moment = entry["at"][:19].replace("T", " ")
    output.write(f"{moment}  {level}  {where}  {entry['name']}  {entry['message']}")
