"""`fitment-agent tune`: find the session options with which a model runs fastest on this device."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fitment_agent import control
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
from fitment_agent.errors import BenchmarkFailedError, UnknownModelError
from fitment_agent.screens import table
from fitment_agent.settings import Settings, load_settings

if TYPE_CHECKING:
    from fitment_contract.benchmark import SessionTuning
    from fitment_contract.device import DeviceFacts
    from fitment_contract.messages import Assignment


def tune(
    target: Annotated[str, typer.Argument(help="An active model's name, or a model file.")],
    output: OutputOption = Output.TABLE,
    config: ConfigOption = None,
    state_dir: StateOption = None,
    facts: FactsOption = None,
    seconds: Annotated[
        float, typer.Option(min=1.0, help="Begin no measuring after this long.")
    ] = 60.0,
) -> None:
    """Measure threads, cores, providers and memory arena; hand the best to applications.

    A file is only measured.
    """
    settings = load_settings({"state_dir": state_dir, "facts_file": facts}, config_file=config)
    known = read_facts(settings)
    path = Path(target)
    if path.is_file():
        from fitment_agent.local_bench import assignment_of_file

        with tempfile.TemporaryDirectory() as folder:
            assignment = assignment_of_file(path, known, Path(folder))
            tuning = _measure(assignment, Path(folder), known, seconds)
        kept = False
    else:
        tuning = _measure(_active(target, settings), settings.state_dir, known, seconds)
        kept = _hand_over(target, tuning, settings)
    screen = {"model": target, "tuning": tuning.model_dump(mode="json"), "kept": kept}
    print_result(output, "SessionTuning", screen, tuning_text)


def tuning_text(screen: dict[str, Any]) -> str:
    """The best options, and what they gain."""
    found = screen["tuning"]
    best, one = found["p50_seconds"] * 1000, found["reference_p50_seconds"] * 1000
    rows = [
        ("model", screen["model"]),
        ("threads", found["threads"]),
        ("cores", ",".join(map(str, found["affinity"])) or "any"),
        ("providers", ", ".join(found["providers"]) or "as the variant needs"),
        ("memory arena", "on" if found["arena"] else "off"),
        ("latency p50", f"{best:.3f} ms; one thread and no options: {one:.3f} ms"),
        ("measured", f"{found['candidates']} combinations"),
        ("applications", "have it now" if screen["kept"] else "are not told: only measured"),
    ]
    return table(rows)


def _active(model: str, settings: Settings) -> Assignment:
    state, _ = read_state(settings)
    proof = state.active_proof(model)
    if proof is None:
        raise UnknownModelError(
            f"{model!r} is neither a file nor a model that is active and known here.",
            "See `fitment-agent models`.",
        )
    assignment: Assignment = proof.assignment
    return assignment


def _measure(
    assignment: Assignment, folder: Path, facts: DeviceFacts, seconds: float
) -> SessionTuning:
    from fitment_agent.tuning import tune_job
    from fitment_agent.worker.apart import run_apart
    from fitment_agent.worker.jobs import TuneDone, WorkerFailed

    job = tune_job(assignment, folder, facts).model_copy(update={"seconds": seconds})
    event = run_apart(job, job.total_wall_limit_seconds, job.memory_limit_bytes, _show)
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    if isinstance(event, TuneDone):
        return event.tuning
    why = f"{event.reason.value}: {event.detail}" if isinstance(event, WorkerFailed) else event.kind
    raise BenchmarkFailedError(f"{why}.", "Tune another variant on this device.")


def _hand_over(model: str, tuning: SessionTuning, settings: Settings) -> bool:
    """Give the result to the running agent, or keep it here when there is none."""
    agent = control.running_agent(settings.state_dir)
    if agent is not None:
        request = {"command": "tuned", "model": model, "tuning": tuning.model_dump_json()}
        control.ask(settings.state_dir, agent.pid, request)
        return True
    from fitment_agent.journal import Journal
    from fitment_agent.wiring import JOURNAL_FILE, build_state

    journal = Journal(settings.state_dir / JOURNAL_FILE)
    try:
        return build_state(settings, journal).tuned(model, tuning)
    finally:
        journal.close()


def _show(stage: str, done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{stage}: measurement {done}")
