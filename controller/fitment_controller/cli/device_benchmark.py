"""`fitment device benchmark`: a device measures what it runs, now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from fitment_controller.cli import options, output
from fitment_controller.cli.failures import ExitStatus, say
from fitment_controller.cli.output import Format, Item, ago, duration, percent, plain, size
from fitment_controller.client import Client, quoted

_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = {"quick": 300.0, "full": 900.0}
"""Beyond the limits at which a device gives up, and what it may have to finish first."""


def register(devices: typer.Typer) -> None:
    """Adds the command."""
    devices.command("benchmark")(benchmark)


def benchmark(
    id: Annotated[str, typer.Argument(metavar="ID", help="The device's id.")],
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="Which; the only one that it runs when left out."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full/--quick", help="A minute and more, with energy and heat; or ten seconds."
        ),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Until the result is there.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", min=0, help="Wait this many seconds at most [300 or 900]."),
    ] = None,
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """Measure what a device runs, on the device.

    With -w, exit status 1 when it could not measure or the result proves nothing, 8 on timeout.
    """
    api = options.client(url, token_file, data)
    mode = "full" if full else "quick"
    watch = _Watch(api, id, mode)
    asked = api.post(f"/v1/devices{quoted(id)}/benchmarks", {"model": model, "mode": mode})
    say(f"asked {id} for a {mode} benchmark of {asked['model']}")
    if not wait:
        output.emit(asked, format, lambda _: [])
        say(f"next: fitment device get {id}")
        return
    patience = _PATIENCE_SECONDS[mode] if timeout is None else timeout
    found = watch.wait(str(asked["model"]), time.monotonic() + patience)
    if found is None:
        say(f"error: nothing came within {patience:g} s; a busy device measures when it is done")
        say(f"next:  fitment device get {id}")
        raise typer.Exit(ExitStatus.TIMEOUT)
    document = {"apiVersion": "fitment/v1", "kind": "Benchmark", **found}
    output.emit(document, format, page)
    if not found["usable"]:
        say(f"error: it proves nothing: {found['unusable_reason']}")
        raise typer.Exit(ExitStatus.ERROR)


class _Watch:
    """Waits for the answer to a request that is made after this."""

    def __init__(self, api: Client, device: str, mode: str) -> None:
        self._api = api
        self._device = device
        self._mode = mode
        self._known = {row["id"] for row in self._rows()}
        self._event = max((entry["id"] for entry in self._events()), default=0)

    def wait(self, model: str, deadline: float) -> dict[str, Any] | None:
        """The new report; None when there is none by the deadline."""
        while True:
            for row in self._rows():
                if row["id"] not in self._known and (row["model"], row["mode"]) == (
                    model,
                    self._mode,
                ):
                    return row
            self._raise_if_refused()
            if time.monotonic() >= deadline:
                return None
            time.sleep(_POLL_SECONDS)

    def _raise_if_refused(self) -> None:
        for entry in self._events():
            if entry["id"] > self._event and entry["name"] == "benchmark-failed":
                say(f"error: {self._device} could not measure: {entry['message']}")
                raise typer.Exit(ExitStatus.ERROR)

    def _rows(self) -> list[dict[str, Any]]:
        path = f"/v1/devices{quoted(self._device)}/benchmarks"
        rows: list[dict[str, Any]] = self._api.get(path)["items"]
        return rows

    def _events(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._api.get(
            "/v1/events", {"recent": 20, "device": self._device}
        )["items"]
        return entries


def page(row: Item) -> Iterator[str]:
    """One report, whole."""
    latency, conditions, simulated = row["latency"], row["conditions"], row["simulated"]
    threads = f"{latency['threads']} threads" if latency["threads"] != 1 else "1 thread"
    cores = ", ".join(map(str, conditions["affinity"]))
    yield from output.fields(
        [
            ("model", row["model"]),
            ("variant", row["variant"]),
            ("benchmark", f"{row['mode']}, {row['runtime']}" + (" (simulated)" * simulated)),
            ("verdict", verdict(row)),
            ("attempts", str(row["attempts"])),
            ("latency p50", _with_interval(latency, "p50")),
            ("latency p95", _with_interval(latency, "p95")),
            ("latency p99", duration(latency["p99_seconds"])),
            ("load", duration(row["load_seconds"])),
            ("first inference", duration(row["first_inference_seconds"])),
            ("peak memory", size(row["peak_memory_bytes"])),
            ("accuracy", _score(row["accuracy"])),
            ("own data", _score(row["local_accuracy"])),
            ("sustained", _sustained(row["sustained"])),
            ("energy", energy(row)),
            ("ran on", threads + (f", cores {cores}" if cores else "")),
            ("governor", plain(conditions["governor"])),
            ("temperature", _temperatures(conditions)),
            ("power", conditions["power_source"]),
        ]
    )


def table(rows: list[Item]) -> list[str]:
    """Reports below each other, the newest first."""
    return output.rows(
        [
            ("BENCHMARK", lambda row: ago(row["received_at"])),
            ("MODEL", lambda row: row["model"]),
            ("VARIANT", lambda row: row["variant"]),
            ("MODE", lambda row: row["mode"]),
            ("P50", lambda row: duration(row["latency"]["p50_seconds"])),
            ("P95", lambda row: duration(row["latency"]["p95_seconds"])),
            ("ACCURACY", lambda row: _score(row["accuracy"])),
            ("RETENTION", lambda row: percent((row["sustained"] or {}).get("retention"))),
            ("ENERGY", lambda row: joules((row["energy"] or {}).get("joules_per_inference"))),
            ("VERDICT", verdict),
        ],
        rows,
    )


def verdict(row: Item) -> str:
    """Whether a report informs decisions, and why not."""
    if row["usable"]:
        return output.state("valid")
    return output.painted(f"invalid: {row['unusable_reason']}", "red")


def energy(row: Item) -> str:
    """Per inference, with what measured it."""
    use = row["energy"]
    if use is None:
        return "-"
    return (
        f"{joules(use['joules_per_inference'])} per inference by {use['meter']} {use['channel']} "
        f"({use['busy_watts']:.2f} W busy, {use['idle_watts']:.2f} W idle)"
    )


def joules(value: float | None) -> str:
    """An energy for people."""
    if value is None:
        return "-"
    for factor, unit in ((1.0, "J"), (1e3, "mJ")):
        if value * factor >= 1:
            return f"{value * factor:.2f} {unit}"
    return f"{value * 1e6:.0f} µJ"


def _with_interval(latency: Item, name: str) -> str:
    text = duration(latency[f"{name}_seconds"])
    interval = latency[f"{name}_interval_seconds"]
    if interval is None:
        return text
    return f"{text} ({duration(interval[0])} to {duration(interval[1])} with 95 % confidence)"


def _score(score: Item | None) -> str:
    if score is None:
        return "-"
    text = f"{score['value']:.4g}"
    error = score["standard_error"]
    return f"{text} ± {error:.2g}" if error is not None else text


def _sustained(sustained: Item | None) -> str:
    if sustained is None:
        return "-"
    return (
        f"{sustained['throughput_per_second']:.1f} per second over {sustained['seconds']:.0f} s; "
        f"at its end {percent(sustained['retention'])} of the speed at its start"
    )


def _temperatures(conditions: Item) -> str:
    start, end = conditions["temperature_start_celsius"], conditions["temperature_end_celsius"]
    if start is None or end is None:
        return "-"
    return f"{start:.0f} to {end:.0f} °C" + (", throttled" if conditions["throttled"] else "")
