"""Turns outcomes into the entries of a portfolio, and a portfolio into a folder."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fitment_compress.errors import OutputError
from fitment_compress.jobs import Measured, Prepared
from fitment_compress.recipe import Recipe
from fitment_contract.portfolio import (
    PORTFOLIO_FILE,
    EntryStatus,
    Portfolio,
    PortfolioEntry,
)
from fitment_contract.variant import Variant

BLOBS: Final = "blobs"
PICTURE: Final = "pareto.svg"


@dataclass(frozen=True)
class Outcome:
    """What became of a recipe: a measured variant, or the reason why there is none."""

    recipe: Recipe
    variant: Variant | None = None
    measured: Measured | None = None
    failure: str | None = None


def entries(outcomes: Sequence[Outcome], prepared: Prepared) -> tuple[PortfolioEntry, ...]:
    """One entry per recipe, in the order of the recipes; the baseline is the first.

    An entry is on the Pareto front when no other is at least as good in score, median latency and
    compressed bytes and better in one of them. Small differences of scores may be chance: the
    standard error of the difference is kept with each entry.
    """
    baseline = outcomes[0].variant
    assert baseline is not None
    listed = tuple(_entry(outcome, baseline, prepared) for outcome in outcomes)
    costs = {entry.name: _costs(entry) for entry in listed if entry.variant is not None}
    front = {
        name
        for name, own in costs.items()
        if not any(dominates(other, own) for other in costs.values())
    }
    return tuple(entry.model_copy(update={"pareto": entry.name in front}) for entry in listed)


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether no cost of `one` is higher and at least one is lower."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


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


def _entry(outcome: Outcome, baseline: Variant, prepared: Prepared) -> PortfolioEntry:
    variant, measured = outcome.variant, outcome.measured
    if variant is None or measured is None:
        return PortfolioEntry(
            name=outcome.recipe.name,
            status=EntryStatus.FAILED,
            recipe=outcome.recipe.steps,
            failure=outcome.failure,
        )
    return PortfolioEntry(
        name=outcome.recipe.name,
        status=EntryStatus.LISTED,
        recipe=outcome.recipe.steps,
        variant=variant,
        benchmark=measured.report,
        agreement=measured.agreement,
        difference=measured.difference,
        parameters=prepared.source.parameters,
        macs=prepared.source.macs,
        transferred_ratio=variant.compressed_bytes / baseline.compressed_bytes,
    )


def refuse_foreign_folder(folder: Path) -> None:
    """A folder is replaced only when it is a portfolio, or empty.

    Raises:
        OutputError: it is something else.
    """
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


def write_portfolio(
    folder: Path, portfolio: Portfolio, picture: str, blobs: Sequence[tuple[str, Path]]
) -> None:
    """Write the folder beside its final place and move it there when it is complete.

    Args:
        folder: what `refuse_foreign_folder` accepts.
        portfolio: what `portfolio.json` says.
        picture: the SVG.
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
            (complete / PICTURE).write_text(picture, "utf-8")
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
