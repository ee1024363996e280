"""`fitment device`: the fleet, one device, and why it got what it got."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from fitment_controller.cli import options, output
from fitment_controller.cli.failures import UsageError
from fitment_controller.cli.output import Format, Item, duration, number, percent, plain, size
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
    output.emit(document, format, _table)


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
    output.emit(document, format, _page)


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
    output.emit(document, format, _why, name="chosen")


def _table(document: Item) -> list[str]:
    items = [
        {**device, **(model or {"model": None})}
        for device in document["items"]
        for model in (device["models"] or [None])
    ]
    return output.rows(
        [
            ("DEVICE", lambda item: item["id"]),
            ("CLASS", lambda item: item["device_class"] + _simulated(item)),
            ("REGION", lambda item: item["region"]),
            ("STATE", lambda item: output.state("online" if item["online"] else "offline")),
            ("MODEL", lambda item: plain(item["model"])),
            ("DESIRED", lambda item: plain(item.get("desired"))),
            ("ACTIVE", lambda item: plain(item.get("active"))),
            ("PHASE", lambda item: output.state(item.get("phase"))),
            ("ACCURACY", lambda item: percent(item.get("accuracy"))),
            ("P95", lambda item: duration(item.get("latency_p95_seconds"))),
            ("SEEN", lambda item: output.ago(item["last_seen"])),
        ],
        items,
    )


def _simulated(device: Item) -> str:
    return " (simulated)" if device["simulated"] else ""


def _page(device: Item) -> Iterator[str]:
    facts = device["facts"]
    power = device["power_source"]
    if device["charge_ratio"] is not None:
        power += f", {percent(device['charge_ratio'])}"
    runtimes = ", ".join(f"{item['name']} {item['version']}" for item in facts["runtimes"])
    yield from output.fields(
        [
            ("device", device["id"] + _simulated(device)),
            ("state", output.state("online" if device["online"] else "offline")),
            ("seen", output.ago(device["last_seen"])),
            ("class", device["device_class"]),
            ("region", device["region"]),
            ("board", plain(device["board"])),
            ("architecture", plain(facts["hardware"]["architecture"])),
            ("memory", size(facts["hardware"]["memory_bytes"])),
            ("runtimes", runtimes),
            ("power", power),
            ("link", device["link"] + (", metered" if device["metered"] else "")),
            ("agent", device["agent_version"]),
            ("fingerprint", device["fingerprint"]),
        ]
    )
    for model in device["models"]:
        yield ""
        yield from _model(model)
    if device["events"]:
        yield ""
        for entry in device["events"]:
            yield f"{entry['at'][:19].replace('T', ' ')}  {entry['message']}"


def _model(model: Item) -> list[str]:
    waiting, failure = model["waiting"], model["failure"]
    return output.fields(
        [
            ("model", model["model"]),
            ("desired", plain(model["desired"])),
            ("active", plain(model["active"])),
            ("phase", output.state(model["phase"])),
            ("waits for", f"{waiting['reason']}: {waiting['detail']}" if waiting else "-"),
            ("failed", f"{failure['reason']}: {failure['detail']}" if failure else "-"),
            ("accuracy", percent(model["accuracy"])),
            ("latency p50", duration(model["latency_p50_seconds"])),
            ("latency p95", duration(model["latency_p95_seconds"])),
            ("peak memory", size(model["peak_memory_bytes"])),
            ("transferred", size(model["bytes_transferred"])),
        ]
    )


def _why(selection: Item) -> Iterator[str]:
    chosen = selection["chosen"] or "nothing fits"
    yield (
        f"{selection['device']} ({selection['device_class']}, {selection['region']}), "
        f"{selection['model']}@{selection['model_version']}, objective {selection['objective']}: "
        f"{chosen}"
    )
    yield selection["reason"]
    if selection["remedy"]:
        yield f"remedy: {selection['remedy']}"
    yield ""
    yield from output.rows(
        [
            ("VERDICT", lambda item: output.state(item["outcome"])),
            ("RANK", lambda item: plain(item["rank"])),
            ("VARIANT", lambda item: item["variant"]),
            ("RULE", lambda item: plain(item["rule"])),
            ("NUMBER", lambda item: number(item["value"])),
            ("LIMIT", lambda item: number(item["limit"])),
            ("SOURCE", _source),
            ("REASON", lambda item: item["reason"]),
        ],
        selection["verdicts"],
    )


def _source(verdict: Item) -> str:
    """Where the deciding number comes from: of the estimates, the one that has its value."""
    estimates: list[dict[str, Any]] = [
        estimate for estimate in verdict["numbers"].values() if isinstance(estimate, dict)
    ]
    for estimate in estimates:
        if verdict["value"] is not None and estimate["value"] == verdict["value"]:
            return f"{estimate['source']} (n={estimate['n']})"
    return "-"
