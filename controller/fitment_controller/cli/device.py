"""`fitment device`: the fleet, one device, and why it got what it got."""

from __future__ import annotations

from typing import Annotated

import typer

from fitment_controller.cli import device_benchmark, device_tables, options, output
from fitment_controller.cli.failures import UsageError
from fitment_controller.cli.output import Format
from fitment_controller.client import quoted

_devices = typer.Typer(help="Devices and what they run.", no_args_is_help=True)

Selector = Annotated[
    list[str] | None,
    typer.Option(
        "--selector",
        "-l",
        help="region=, class=, id=, online= or label.KEY=VALUE; commas join, values of one "
        "key are alternatives.",
        show_default=False,
    ),
]
DeviceId = Annotated[str, typer.Argument(metavar="ID", help="The device's id.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    device_benchmark.register(_devices)
    app.add_typer(_devices, name="device")


def parse_selectors(selectors: list[str] | None) -> dict[str, list[str]]:
    """Selectors as the API's query: `region=eu,class=pi4` and `label.site=north`.

    Raises:
        UsageError: a term is no `key=value`, or its key is unknown.
    """
    query: dict[str, list[str]] = {}
    for term in ",".join(selectors or []).split(","):
        if not term:
            continue
        key, found, value = term.partition("=")
        if key.startswith("label.") and found:
            query.setdefault("label", []).append(f"{key.removeprefix('label.')}={value}")
        elif key in ("region", "class", "id", "online") and value:
            query.setdefault(key, []).append(value)
        else:
            raise UsageError(
                f"{term!r} selects nothing", "write region=, class=, id=, online= or label.KEY="
            )
    return query


@_devices.callback()
def _device() -> None:
    """Devices and what they run."""


@_devices.command("list")
def list_devices(
    selector: Selector = None,
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """List devices and what each runs."""
    api = options.client(url, token_file, data)
    items = list(api.pages("/v1/devices", parse_selectors(selector)))
    document = {"apiVersion": "fitment/v1", "kind": "DeviceList", "items": items, "next": None}
    output.emit(document, format, device_tables.listing)


@_devices.command("get")
def get_device(
    id: DeviceId,
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """Show one device: facts, models, newest events."""
    document = options.client(url, token_file, data).get(f"/v1/devices{quoted(id)}")
    output.emit(document, format, device_tables.page)


@_devices.command("why")
def why_device(
    id: DeviceId,
    model: Annotated[
        str | None, typer.Option(help="Which model; the only one when there is one.")
    ] = None,
    objective: Annotated[str | None, typer.Option(help="Judge by this objective.")] = None,
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """Show why a device gets what it gets.

    Every candidate variant: chosen or rejected, by which rule, the number and its limit.
    """
    document = options.client(url, token_file, data).get(
        f"/v1/devices{quoted(id)}/why", {"model": model, "objective": objective}
    )
    output.emit(document, format, device_tables.why, name="chosen")
