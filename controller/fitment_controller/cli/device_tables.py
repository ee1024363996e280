"""Devices as tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fitment_controller.cli import device_benchmark, output
from fitment_controller.cli.output import Item, duration, number, percent, plain, size
from fitment_controller.cli.words import low_power_limits


def listing(document: Item) -> list[str]:
    """One line per device and model."""
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
            ("IN USE", _in_use),
            ("PHASE", lambda item: output.state(item.get("phase"))),
            ("ACCURACY", lambda item: percent(item.get("accuracy"))),
            ("P95", lambda item: duration(item.get("latency_p95_seconds"))),
            ("SEEN", lambda item: output.ago(item["last_seen"])),
            ("WAITS FOR", lambda item: plain(item.get("waits"))),
        ],
        items,
    )


def _simulated(device: Item) -> str:
    return " (simulated)" if device["simulated"] else ""


def page(device: Item) -> Iterator[str]:
    """One device: what it is, each of its models, what it measured, and its newest history."""
    yield from output.fields([*_identity(device), *_hardware(device), *_surroundings(device)])
    for model in device["models"]:
        yield ""
        yield from _model(model)
    if device["benchmarks"]:
        yield ""
        yield from device_benchmark.table(device["benchmarks"])
    if device["events"]:
        yield ""
        for entry in device["events"]:
            moment = entry["at"][:19].replace("T", " ")
            yield f"{moment}  {entry['name']}  {entry['message']}"


def _identity(device: Item) -> list[tuple[str, str]]:
    interval = device["interval_seconds"]
    return [
        ("device", device["id"] + _simulated(device)),
        ("state", output.state("online" if device["online"] else "offline")),
        ("seen", output.ago(device["last_seen"])),
        ("speaks", f"every {interval:g} s at the latest" if interval else "-"),
        ("class", device["device_class"]),
        ("region", device["region"]),
        ("agent", device["agent_version"]),
        ("fingerprint", device["fingerprint"]),
    ]


def _hardware(device: Item) -> list[tuple[str, str]]:
    facts = device["facts"]
    hardware = facts["hardware"]
    runtimes = ", ".join(f"{item['name']} {item['version']}" for item in facts["runtimes"])
    return [
        ("board", plain(device["board"])),
        ("architecture", plain(hardware["architecture"])),
        ("cores", _cores(hardware)),
        ("memory", size(hardware["memory_bytes"])),
        ("accelerators", ", ".join(hardware["accelerators"])),
        ("runtimes", runtimes),
    ]


def _cores(hardware: Item) -> str:
    """`2 at 2.4 GHz, 4 at 1.5 GHz`, or their number where the kernel tells no more."""
    kinds = []
    for cluster in hardware["clusters"]:
        hertz = cluster["max_frequency_hertz"]
        speed = f" at {hertz / 1e9:.1f} GHz" if hertz else ""
        kinds.append(f"{len(cluster['cores'])}{speed}")
    return ", ".join(kinds) or plain(hardware["cores"])


def _surroundings(device: Item) -> list[tuple[str, str]]:
    facts = device["facts"]
    power = [device["power_source"]]
    if device["charge_ratio"] is not None:
        power.append(percent(device["charge_ratio"]))
    power += ["charging"] if device["charging"] else []
    power += [f"mode {facts['power']['mode']}"] if facts["power"]["mode"] else []
    heat = device["temperature_celsius"]
    return [
        ("power", ", ".join(power)),
        ("energy meter", plain(facts["power"]["energy_meter"])),
        ("temperature", f"{heat:.0f} °C" if heat is not None else "-"),
        ("throttled", _throttled(device)),
        ("link", _link(device)),
    ]


def _throttled(device: Item) -> str:
    """Now and since the start; a device that never was says nothing."""
    thermal = device["facts"]["thermal"]
    now = ", ".join(thermal["throttle_reasons"]) or ("yes" if device["throttled"] else "")
    before = ", ".join(thermal["throttled_since_boot"] or ())
    past = f"since its start: {before}" if before else ""
    return "; ".join(text for text in (now, past) if text)


def _link(device: Item) -> str:
    link = device["facts"]["link"]
    parts = [f"{device['link']} {link['interface'] or ''}".strip()]
    if device["metered"] is not None:
        parts.append("metered" if device["metered"] else "not metered")
    rate = link["downlink_bytes_per_second"]
    if rate is not None:
        samples = link["downlink_samples"]
        source = f"median of {samples} transfers" if samples else "declared"
        parts.append(f"{size(rate)}/s ({source})")
    return ", ".join(parts)


def _model(model: Item) -> list[str]:
    failure, second = model["failure"], model["desired_low_power"]
    invalid = model["unusable_reason"]
    return output.fields(
        [
            ("model", model["model"]),
            ("desired", plain(model["desired"])),
            ("desired in low power", _second(second) if second else "-"),
            ("active", plain(model["active"])),
            ("in low power", plain(model["low_power"])),
            ("mode", plain(model["mode"])),
            ("phase", output.state(model["phase"])),
            ("waits for", plain(model["waits"])),
            ("failed", f"{failure['reason']}: {failure['detail']}" if failure else "-"),
            ("accuracy", percent(model["accuracy"])),
            ("latency p50", duration(model["latency_p50_seconds"])),
            ("latency p95", duration(model["latency_p95_seconds"])),
            ("peak memory", size(model["peak_memory_bytes"])),
            ("benchmark", output.painted(f"invalid: {invalid}", "red") if invalid else "-"),
            ("tuned", _tuned(model["tuning"])),
            ("transferred", size(model["bytes_transferred"])),
        ]
    )


def _second(low_power: Item) -> str:
    return f"{low_power['variant']}, {low_power_limits(low_power)}"


def _in_use(item: Item) -> str:
    """What applications use now, and that it is the one for low power."""
    suffix = " (low power)" if item.get("mode") == "low_power" else ""
    return plain(item.get("in_use")) + suffix


def _tuned(tuning: Item | None) -> str:
    """`4 threads on cores 4, 5 by CUDAExecutionProvider: 2.1 ms, 5.9 ms untuned`."""
    if tuning is None:
        return "-"
    threads = "1 thread" if tuning["threads"] == 1 else f"{tuning['threads']} threads"
    cores = f" on cores {', '.join(map(str, tuning['affinity']))}" if tuning["affinity"] else ""
    providers = f" by {', '.join(tuning['providers'])}" if tuning["providers"] else ""
    arena = "" if tuning["arena"] else ", without an arena"
    gain = f"{duration(tuning['p50_seconds'])}, {duration(tuning['reference_p50_seconds'])} untuned"
    return f"{threads}{cores}{providers}{arena}: {gain}"


def why(selection: Item) -> Iterator[str]:
    """The pick, and every candidate with its verdict."""
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
