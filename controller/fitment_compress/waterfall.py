"""A recipe as a chain of states: the source, then the model after each step."""

from __future__ import annotations

from dataclasses import dataclass

from fitment_contract.benchmark import Difference, Score
from fitment_contract.portfolio import LayerSensitivity, Portfolio, PortfolioEntry, StageResult
from fitment_contract.variant import RecipeStep


@dataclass(frozen=True)
class State:
    """A model on its way through a recipe.

    Attributes:
        step: what made it; None for the source.
        size_bytes, transferred: of its file, and of the file compressed for transport.
        latency: the median, single-threaded, in seconds.
        seconds_taken: by the step, on the build host.
    """

    step: RecipeStep | None
    size_bytes: int
    transferred: int
    score: Score | None = None
    difference: Difference | None = None
    latency: float | None = None
    parameters: int | None = None
    macs: int | None = None
    seconds_taken: float | None = None
    notes: tuple[str, ...] = ()
    sensitivity: tuple[LayerSensitivity, ...] = ()


def states(portfolio: Portfolio, entry: PortfolioEntry) -> tuple[State, ...]:
    """The source and the model after each step of the recipe.

    The last state of a listed entry says what was measured on the final file, in turns with all
    other candidates, so that one file never has two numbers.
    """
    source = portfolio.entry(portfolio.baseline)
    assert source is not None
    start = _final(source, None)
    assert start is not None
    chain = [start, *(_state(stage) for stage in entry.stages)]
    last = entry.stages[-1] if entry.stages else None
    final = _final(entry, last)
    if final is not None and last is not None:
        chain[-1] = final
    return tuple(chain)


def _state(stage: StageResult) -> State:
    return State(
        step=stage.step,
        size_bytes=stage.size_bytes,
        transferred=stage.compressed_bytes,
        score=stage.score,
        difference=stage.difference,
        latency=stage.latency.p50_seconds if stage.latency else None,
        parameters=stage.parameters,
        macs=stage.macs,
        seconds_taken=stage.seconds,
        notes=stage.notes,
        sensitivity=stage.sensitivity,
    )


def _final(entry: PortfolioEntry, stage: StageResult | None) -> State | None:
    if entry.variant is None or entry.benchmark is None:
        return None
    return State(
        step=stage.step if stage else None,
        size_bytes=entry.variant.artifact.size_bytes,
        transferred=entry.variant.compressed_bytes,
        score=entry.benchmark.score(),
        difference=entry.difference if stage else None,
        latency=entry.benchmark.latency.p50_seconds,
        parameters=entry.parameters,
        macs=entry.macs,
        seconds_taken=stage.seconds if stage else None,
        notes=stage.notes if stage else (),
        sensitivity=stage.sensitivity if stage else (),
    )
