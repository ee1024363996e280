"""`fitment-agent bench`: measure one model on this device, by the protocol of rollouts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fitment_agent.cli_parts import (
    ConfigOption,
    FactsOption,
    Output,
    OutputOption,
    StateOption,
    print_result,
    read_facts,
    read_state,
)
from fitment_agent.errors import UnknownModelError
from fitment_agent.screens import table
from fitment_agent.settings import Settings, load_settings
from fitment_contract.benchmark import (
    FULL,
    QUICK,
    BenchmarkProtocol,
    BenchmarkReport,
    Conditions,
    Latency,
)

if TYPE_CHECKING:
    from fitment_contract.device import DeviceFacts

_BESIDE_TIMING_SECONDS: Final = 60.0
"""Time for loading, accuracy and energy, on top of every attempt at timing."""

Row = tuple[str, str]


def bench(
    target: Annotated[str, typer.Argument(help="An active model's name, or a model file.")],
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
    state_dir: StateOption = None,
    facts: FactsOption = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full/--quick",
            help="A minute with what the device sustains and its energy, or 10 s as in rollouts.",
        ),
    ] = False,
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Time at least this long instead.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the session.")] = 1,
) -> None:
    """Measure a model on this device, in a worker, by the protocol of rollouts."""
    settings = load_settings({"state_dir": state_dir, "facts_file": facts}, config_file=config)
    report = _measure(target, settings, read_facts(settings), terms(full, seconds, threads))
    content = {"report": report.model_dump(mode="json")}
    print_result(output, "BenchmarkReport", content, lambda _: benchmark_text(report))


def terms(full: bool, seconds: float | None, threads: int) -> BenchmarkProtocol:
    """The protocol that was asked for; limits grow with the seconds."""
    base = FULL if full else QUICK
    least = base.min_seconds if seconds is None else seconds
    most = max(base.max_seconds, 2 * least)
    return base.model_copy(
        update={
            "threads": threads,
            "min_seconds": least,
            "max_seconds": most,
            "wall_limit_seconds": max(
                base.wall_limit_seconds, base.attempts * most + _BESIDE_TIMING_SECONDS
            ),
        }
    )


def benchmark_text(report: BenchmarkReport) -> str:
    """What was measured, in milliseconds, bytes and joules; why it proves nothing comes first."""
    rows: list[Row] = []
    if not report.valid:
        rows.append(("NOT VALID", report.invalid_reason or "the conditions changed"))
    rows += [
        ("model", f"{report.model} ({report.variant})"),
        ("runtime", f"{report.runtime} {report.runtime_version}"),
        *_latency_rows(report.latency),
        ("load", f"{report.load_seconds * 1000:.1f} ms"),
        ("first inference", f"{report.first_inference_seconds * 1000:.3f} ms"),
        ("peak memory", f"{report.peak_memory_bytes / 2**20:.1f} MiB"),
        *_sustained_rows(report),
        *_score_rows(report),
        *_condition_rows(report.conditions),
        ("protocol", f"{report.protocol} {report.mode.value}, attempt {report.attempts}"),
    ]
    return table(rows)


def _measure(
    target: str, settings: Settings, facts: DeviceFacts, protocol: BenchmarkProtocol
) -> BenchmarkReport:
    from fitment_agent.local_bench import assignment_of_file, benchmark

    path = Path(target)
    if path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            assignment = assignment_of_file(path, facts, Path(folder))
            return benchmark(assignment, Path(folder), facts, protocol)
    state, _ = read_state(settings)
    proof = state.active_proof(target)
    if proof is None:
        raise UnknownModelError(
            f"{target!r} is neither a file nor a model that is active and known here.",
            "See `fitment-agent models`.",
        )
    return benchmark(proof.assignment, settings.state_dir, facts, protocol)


def _latency_rows(latency: Latency) -> list[Row]:
    intervals = {
        "p50": latency.p50_interval_seconds,
        "p95": latency.p95_interval_seconds,
    }
    rows = []
    for name in ("p50", "p90", "p95", "p99"):
        value: float = getattr(latency, f"{name}_seconds")
        known = intervals.get(name)
        between = f" (95 %: {known[0] * 1000:.3f} to {known[1] * 1000:.3f})" if known else ""
        rows.append((f"latency {name}", f"{value * 1000:.3f} ms{between}"))
    return [*rows, ("inferences", f"{latency.count} on {latency.threads} thread(s)")]


def _sustained_rows(report: BenchmarkReport) -> list[Row]:
    rows = []
    if (kept := report.sustained) is not None:
        rows.append(
            (
                "sustained",
                f"{kept.throughput_per_second:.1f} inferences/s over {kept.seconds:.0f} s, "
                f"retention {kept.retention:.3f}",
            )
        )
    if (energy := report.energy) is not None:
        rows.append(
            (
                "energy",
                f"{energy.joules_per_inference * 1000:.3f} mJ per inference "
                f"({energy.busy_watts:.2f} W busy, {energy.idle_watts:.2f} W idle; "
                f"{energy.meter} {energy.channel}, {energy.samples} readings)",
            )
        )
    return rows


def _score_rows(report: BenchmarkReport) -> list[Row]:
    return [
        (
            f"{score.metric} ({score.dataset})",
            f"{score.value:.4f}"
            + ("" if score.standard_error is None else f" ± {score.standard_error:.4f}")
            + f" over {score.count} samples",
        )
        for score in report.scores
    ]


def _condition_rows(found: Conditions) -> list[Row]:
    cores = ",".join(map(str, found.affinity))
    start, end = found.temperature_start_celsius, found.temperature_end_celsius
    heat = None if start is None or end is None else f"{start:.1f} to {end:.1f} °C"
    share = None if found.cpu_share is None else f"{found.cpu_share:.0%} of the time"
    throttled = None if found.throttled is None else ("yes" if found.throttled else "no")
    known = (
        ("cores", cores or None),
        ("processor", share),
        ("governor", found.governor),
        ("temperature", heat),
        ("throttled", throttled),
        ("power", found.power_source.value),
    )
    return [(name, value) for name, value in known if value is not None]
