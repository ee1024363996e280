"""What `fitment plan` and `fitment rollout start` ask for: flags over a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fitment_controller.cli.device import parse_selectors
from fitment_controller.cli.failures import UsageError

RequestFile = Annotated[
    Path | None,
    typer.Option("--file", "-f", help="YAML with the request.", show_default=False),
]
Model = Annotated[
    str | None, typer.Option("--model", "-m", help="NAME or NAME@VERSION.", show_default=False)
]
Objective = Annotated[
    str | None, typer.Option("--objective", help="What best means.", show_default=False)
]
Variant = Annotated[
    str | None, typer.Option("--variant", help="Only this variant.", show_default=False)
]
Region = Annotated[
    list[str] | None, typer.Option("--region", help="Only there; may repeat.", show_default=False)
]
LowPowerVariant = Annotated[
    str | None,
    typer.Option(
        "--low-power-variant",
        help="A second variant, for when energy or coolness is short.",
        show_default=False,
    ),
]
LowPowerObjective = Annotated[
    str | None,
    typer.Option(
        "--low-power-objective", help="Or the best by this objective.", show_default=False
    ),
]
BelowCharge = Annotated[
    float | None,
    typer.Option(
        "--below-charge",
        min=0,
        max=1,
        help="The second is used on battery below this charge (0.3 is 30 %).",
        show_default=False,
    ),
]
AboveTemperature = Annotated[
    float | None,
    typer.Option(
        "--above-temperature",
        help="The second is used above this temperature in °C.",
        show_default=False,
    ),
]


def read_request(
    file: Path | None,
    model: str | None,
    objective: str | None,
    variant: str | None,
    second: dict[str, Any],
    region: list[str] | None,
    selector: list[str] | None,
) -> dict[str, Any]:
    """The request from a file and flags; a flag wins over the file.

    Raises:
        UsageError: the file cannot be used, or no model is named.
    """
    request = _read_yaml(file) if file else {}
    if model is not None:
        name, _, version = model.partition("@")
        request["model"] = name
        request["model_version"] = _version(version) if version else None
    flags = {"objective": objective, "variant": variant}
    request |= {name: value for name, value in flags.items() if value is not None}
    if second:
        request["low_power"] = _merged(request.get("low_power"), second)
    devices = _devices(region, selector)
    if devices:
        request["devices"] = {**(request.get("devices") or {}), **devices}
    if not request.get("model"):
        raise UsageError("which model?", "name one with --model NAME, or in the file with `model:`")
    return request


def _version(text: str) -> int:
    if not text.isdigit():
        raise UsageError(f"{text!r} is not a version", "write NAME or NAME@1")
    return int(text)


def _merged(filed: object, flags: dict[str, Any]) -> dict[str, Any]:
    """A variant and an objective exclude each other: a flag's replaces either of the file's."""
    which = ("variant", "objective")
    kept = dict(filed) if isinstance(filed, dict) else {}
    if any(name in flags for name in which):
        kept = {name: value for name, value in kept.items() if name not in which}
    return {**kept, **flags}


def low_power(
    variant: str | None,
    objective: str | None,
    below_charge: float | None,
    above_temperature: float | None,
) -> dict[str, Any]:
    """The flags about a second variant that were given, as the request spells them."""
    flags = {
        "variant": variant,
        "objective": objective,
        "below_charge_ratio": below_charge,
        "above_temperature_celsius": above_temperature,
    }
    return {name: value for name, value in flags.items() if value is not None}


def _devices(region: list[str] | None, selector: list[str] | None) -> dict[str, Any]:
    """The part of the request that says which devices are meant."""
    query = parse_selectors(selector)
    regions = [*(region or []), *query.get("region", [])]
    found: dict[str, Any] = {
        "regions": regions,
        "classes": query.get("class"),
        "ids": query.get("id"),
        "labels": dict(label.split("=", 1) for label in query.get("label", [])),
    }
    if "online" in query:
        found["online"] = query["online"][-1] == "true"
    return {name: value for name, value in found.items() if value or value is False}


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UsageError(f"{where}: not valid YAML", "mend the file") from None
    if not isinstance(document, dict):
        raise UsageError(f"{path}:1: not a mapping", "begin with `model: NAME`")
    return {key: value for key, value in document.items() if key not in ("apiVersion", "kind")}
