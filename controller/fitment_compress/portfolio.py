"""Turns outcomes into the entries of a portfolio, and a portfolio into a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fitment_compress.errors import OutputError
from fitment_compress.fronts import dominates
from fitment_compress.page import render
from fitment_compress.pareto import draw
from fitment_compress.recipe import Recipe
from fitment_compress.workshop import Stage, with_latency
from fitment_contract.benchmark import Latency
from fitment_contract.portfolio import (
    PORTFOLIO_FILE,
    EntryStatus,
    Portfolio,
    PortfolioEntry,
    StageResult,
)
from fitment_contract.variant import Variant

BLOBS: Final = "blobs"
PICTURE: Final = "pareto.svg"
PAGE: Final = "report.html"


@dataclass(frozen=True)
class Outcome:
    """What became of a recipe: the stages to a measured variant, or why there is none.

    Attributes:
        stages: the source, and what it was after each step; empty when the recipe failed.
        latency_all_threads: of the last stage.
    """

    recipe: Recipe
    stages: tuple[Stage, ...] = ()
    latency_all_threads: Latency | None = None
    failure: str | None = None

    def timed(self, single: Mapping[str, Latency], spread: Mapping[str, Latency]) -> Outcome:
        """With latencies by stage: with one thread, and with as many as there are cores."""
        stages = tuple(
            with_latency(stage, single[stage.file.key]) if stage.file.key in single else stage
            for stage in self.stages
        )
        last = spread.get(stages[-1].file.key) if stages else None
        return replace(self, stages=stages, latency_all_threads=last)


def entries(outcomes: Sequence[Outcome]) -> tuple[PortfolioEntry, ...]:
    """One entry per recipe, in the order of the recipes; the baseline is the first.

    An entry is on the Pareto front when no other is at least as good in score, median latency and
    compressed bytes and better in one of them. Small differences of scores may be chance: the
    standard error of the difference is kept with each entry.
    """
    baseline = outcomes[0].stages[-1].variant
    listed = tuple(_entry(outcome, baseline) for outcome in outcomes)
    costs = {entry.name: _costs(entry) for entry in listed if entry.variant is not None}
    front = {
        name
        for name, own in costs.items()
        if not any(dominates(other, own) for other in costs.values())
    }
    return tuple(entry.model_copy(update={"pareto": entry.name in front}) for entry in listed)


def _costs(entry: PortfolioEntry) -> tuple[float, ...]:
    assert entry.variant is not None
    assert entry.benchmark is not None
    score = entry.benchmark.score()
    assert score is not None
    return (
        -score.value if score.higher_is_better else score.value,
        entry.benchmark.latency.p50_seconds,
        float(entry.variant.compressed_bytes),
    )


def _entry(outcome: Outcome, baseline: Variant) -> PortfolioEntry:
    recipe = outcome.recipe
    if not outcome.stages:
        return PortfolioEntry(
            name=recipe.name,
            status=EntryStatus.FAILED,
            recipe=recipe.steps,
            failure=outcome.failure,
        )
    last = outcome.stages[-1]
    variant = last.variant.model_copy(update={"name": recipe.name})
    return PortfolioEntry(
        name=recipe.name,
        status=EntryStatus.LISTED,
        recipe=recipe.steps,
        variant=variant,
        benchmark=last.measured.report.model_copy(update={"variant": recipe.name}),
        agreement=last.measured.agreement,
        difference=last.measured.difference,
        latency_all_threads=outcome.latency_all_threads,
        parameters=last.built.parameters,
        macs=last.built.macs,
        peak_activation_bytes=last.built.peak_activation_bytes,
        stages=tuple(_stage_result(stage) for stage in outcome.stages[1:]),
        transferred_ratio=variant.compressed_bytes / baseline.compressed_bytes,
    )


def _stage_result(stage: Stage) -> StageResult:
    assert stage.step is not None
    built, report = stage.built, stage.measured.report
    return StageResult(
        step=stage.step,
        seconds=built.seconds,
        size_bytes=built.artifact.size_bytes,
        compressed_bytes=built.compressed_bytes,
        parameters=built.parameters,
        macs=built.macs,
        score=report.score(),
        difference=stage.measured.difference,
        latency=report.latency,
        sensitivity=built.sensitivity,
        notes=built.notes,
    )


def read_portfolio(folder: Path) -> Portfolio:
    """What a portfolio folder says.

    Raises:
        OutputError: it is no such folder.
    """
    try:
        return Portfolio.model_validate_json((folder / PORTFOLIO_FILE).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{folder} is not a portfolio folder.", "Name one that `fitment compress` wrote."
        ) from error


def refuse_foreign_folder(folder: Path) -> None:
    """A folder is replaced only when it is a portfolio, or empty.

    Raises:
        OutputError: it is something else, or cannot be replaced.
    """
    if folder.is_mount() or (folder.is_dir() and folder.samefile(Path.cwd())):
        raise OutputError(
            f"{folder} cannot be replaced in one move: it is the current folder or a mount point.",
            "Name a folder in it with --out.",
        )
    if not folder.exists() or _is_portfolio(folder):
        return
    if folder.is_dir() and not any(folder.iterdir()):
        return
    raise OutputError(
        f"{folder} exists and is not a portfolio folder.", "Name another folder with --out."
    )


def _is_portfolio(folder: Path) -> bool:
    try:
        content = json.loads((folder / PORTFOLIO_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("kind") == "Portfolio"


def pages(portfolio: Portfolio) -> dict[str, str]:
    """What people look at, by file name: a picture for a README, and everything on one page."""
    return {PICTURE: draw(portfolio), PAGE: render(portfolio)}


def write_portfolio(
    folder: Path,
    portfolio: Portfolio,
    texts: Mapping[str, str],
    blobs: Sequence[tuple[str, Path]],
) -> None:
    """Write the folder beside its final place and move it there when it is complete.

    Args:
        folder: what `refuse_foreign_folder` accepts.
        portfolio: what `portfolio.json` says.
        texts: files beside it, by name.
        blobs: digest and file of everything that the portfolio names.

    Raises:
        OutputError: the folder cannot be written, or became something else in the meantime.
    """
    refuse_foreign_folder(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            complete = Path(scratch) / "new"
            (complete / BLOBS).mkdir(parents=True)
            for digest, path in blobs:
                shutil.copyfile(path, complete / BLOBS / digest)
            for name, text in texts.items():
                (complete / name).write_text(text, "utf-8")
            text = portfolio.model_dump_json(indent=2) + "\n"
            (complete / PORTFOLIO_FILE).write_text(text, "utf-8")
            _exchange(folder, complete, Path(scratch) / "old")
    except OSError as error:
        raise OutputError(
            f"Cannot write {folder}: {error.strerror or error}.", "Name another folder with --out."
        ) from error


def _exchange(folder: Path, complete: Path, old: Path) -> None:
    """Put `complete` where `folder` is; interrupted, `folder` is what it was."""
    if not folder.exists():
        complete.rename(folder)
        return
    folder.rename(old)
    try:
        complete.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
