"""`fitment-agent probe`: exactly what would be reported, and where each fact was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fitment_agent.errors import BenchmarkFailedError
from fitment_agent.facts import with_runtimes
from fitment_agent.probe import Reading, make_probe
from fitment_agent.screens import Screen, table
from fitment_agent.settings import Settings
from fitment_runtime.catalog import installed_runtimes


def read_device(settings: Settings) -> Reading:
    """What this device is and has; runtimes are loaded by a worker unless they are declared."""
    from fitment_agent.local_bench import look_at_runtimes

    source = make_probe(settings)
    reading = source.read()
    if source.declares_runtimes:
        return reading
    installed = installed_runtimes()
    try:
        return with_runtimes(reading, look_at_runtimes(), installed)
    except BenchmarkFailedError as error:  # the daemon goes on with names and versions too
        known = with_runtimes(reading, installed, installed)
        unknown = {**known.facts.unknown, "runtimes": str(error)}
        return Reading(known.facts.model_copy(update={"unknown": unknown}), known.sources)


def facts_screen(settings: Settings, reading: Reading) -> Screen:
    """Exactly what would be reported under `facts`; the sources stay on the device."""
    return {
        "device": settings.device_id,
        "fingerprint": reading.facts.fingerprint,
        "facts": reading.facts.model_dump(mode="json"),
        "sources": dict(reading.sources),
    }


def facts_text(screen: Screen) -> str:
    """What is known with its source, then what is missing with its reason."""
    rows = [("FACT", "VALUE", "SOURCE"), ("device", screen["device"], "settings")]
    rows.append(("fingerprint", screen["fingerprint"], "hash of the facts that decide speed"))
    missing = dict(screen["facts"]["unknown"])
    for path, value in leaves(screen["facts"]):
        source = nearest(screen["sources"], path)
        if value is not None and source is not None:
            rows += [(row, text, source) for row, text in _rows(path, value)]
        elif nearest(missing, path) is None:
            missing[path] = "not declared"
    below = [table([("MISSING", "REASON"), *sorted(missing.items())])] if missing else []
    return "\n\n".join([table(rows), *below])


def leaves(facts: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every fact by its dotted path; a list is one fact, and `unknown` is none."""
    for key, value in facts.items():
        if isinstance(value, dict) and f"{path}{key}" != "unknown":
            yield from leaves(value, f"{path}{key}.")
        elif not isinstance(value, dict):
            yield f"{path}{key}", value


def nearest(notes: Mapping[str, str], path: str) -> str | None:
    """The note on a fact, else on what holds it."""
    while path and path not in notes:
        path = path.rpartition(".")[0]
    return notes.get(path)


def _rows(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """A line for each cluster and each runtime, one for any other fact."""
    if path == "hardware.clusters":
        yield from ((f"{path}.{number}", _cluster(one)) for number, one in enumerate(value))
    elif path == "runtimes":
        yield from ((f"{path}.{one['name']}", _runtime(one)) for one in value)
    elif isinstance(value, list):
        yield path, " ".join(map(str, value)) or "none"
    else:
        yield path, {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _cluster(cluster: Mapping[str, Any]) -> str:
    said = [f"cores {' '.join(map(str, cluster['cores']))}"]
    if cluster["capacity"] is not None:
        said.append(f"capacity {cluster['capacity']}")
    if cluster["max_frequency_hertz"] is not None:
        said.append(f"up to {cluster['max_frequency_hertz'] / 1e9:.2f} GHz")
    return ", ".join(said)


def _runtime(runtime: Mapping[str, Any]) -> str:
    said = [runtime["version"], f"reads {' '.join(runtime['formats'])}"]
    if runtime["opset_max"] is not None:
        said.append(f"opset up to {runtime['opset_max']}")
    return ", ".join([*said, *runtime["providers"]])
