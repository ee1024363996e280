"""The tables of `bench/compress.py`: targets met or not, every file, and where peers stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from fitment_compress.wording import TIMES
from peers.front import (
    Comparison,
    Spread,
    Subject,
    best_against,
    latency_ratio,
    loss_points,
)


@dataclass(frozen=True)
class Target:
    """A line of the table: the recipes whose names begin so, and what the best must reach.

    Attributes:
        loss: points of accuracy.
        size: over the source's; `on_disk` of the file, else as transferred.
        latency: over the source's; None where none is asked for.
        shrink: how many times fewer parameters than the source's; None where any number will do.
    """

    title: str
    prefixes: tuple[str, ...]
    loss: float
    size: float
    latency: float | None = None
    on_disk: bool = False
    shrink: float | None = None


TARGETS: Final = (
    Target("int8 static, best flavour", ("int8-",), 0.3, 0.36, 0.75, on_disk=True),
    Target("prune 80 % + int8", ("prune80-",), 0.5, 0.13, 0.80),
    Target("structured 50 % + recovery + int8", ("structured50-",), 1.5, 0.17, 0.42),
    Target(f"12 {TIMES} smaller distilled student", ("student-",), 2.0, 0.10, 0.30, shrink=12),
    Target("codebook + entropy coding + pruning", ("codebook-",), 0.7, 0.08),
    Target("binary or ternary weights + recovery", ("binary-", "ternary-"), 4.0, 0.07),
)


@dataclass(frozen=True)
class Result:
    """All that one run found.

    Attributes:
        own: made by the recipes of the table.
        found: the front that a search found; empty where none was asked for.
        others: made by the peers.
        failures: what was not made, with the reason.
        header: where, when and with what it was measured.
    """

    source: Subject
    own: list[Subject]
    found: list[Subject]
    others: list[Subject]
    failures: list[tuple[str, str]]
    orders: list[str]
    header: dict[str, str]

    @property
    def made(self) -> list[Subject]:
        """Every file but the source."""
        return [*self.own, *self.found, *self.others]

    @property
    def meets_targets(self) -> bool:
        """Whether the best of every line is within every target."""
        return all(line.met for line in lines(self))


@dataclass(frozen=True)
class Figures:
    """A file beside the source.

    Attributes:
        loss: points of accuracy, and their standard error.
        disk, transferred, latency: ratios.
        shrink: how many times fewer parameters; None where they are not counted.
    """

    subject: Subject
    loss: tuple[float, float]
    disk: float
    transferred: float
    latency: Spread
    shrink: float | None


def figures(subject: Subject, source: Subject) -> Figures:
    """What a file costs and loses against the source."""
    counts = (source.parameters, subject.parameters)
    return Figures(
        subject=subject,
        loss=loss_points(subject, source),
        disk=subject.file_bytes / source.file_bytes,
        transferred=subject.packed_bytes / source.packed_bytes,
        latency=latency_ratio(subject, source),
        shrink=counts[0] / counts[1] if counts[0] and counts[1] else None,
    )


@dataclass(frozen=True)
class Line:
    """A target and the recipe that comes nearest to it; none where none was made."""

    target: Target
    best: Figures | None

    @property
    def misses(self) -> tuple[str, ...]:
        """What is not within the target."""
        if self.best is None:
            return ("nothing was made",)
        return tuple(name for name, cost in costs(self.target, self.best).items() if cost > 1)

    @property
    def met(self) -> bool:
        """Whether everything is within the target."""
        return not self.misses


def lines(result: Result) -> list[Line]:
    """Each target with the recipe that is within it, or misses it least, at the least cost."""
    found = []
    for target in TARGETS:
        of = [one for one in result.own if one.name.startswith(target.prefixes)]
        candidates = [figures(one, result.source) for one in of]
        best = min(candidates, key=partial(_rank, target), default=None)
        found.append(Line(target, best))
    return found


def _rank(target: Target, one: Figures) -> tuple[float, float]:
    spent = costs(target, one).values()
    return max(1.0, *spent), sum(spent)


def costs(target: Target, one: Figures) -> dict[str, float]:
    """Every quantity over what is allowed; up to 1 meets the target."""
    found = {
        "loss": one.loss[0] / target.loss,
        "size": (one.disk if target.on_disk else one.transferred) / target.size,
    }
    if target.latency is not None:
        found["latency"] = one.latency.median / target.latency
    if target.shrink is not None:
        found["parameters"] = target.shrink / (one.shrink or 1.0)
    return found


def as_markdown(result: Result) -> str:
    """Everything, ready for RESULTS.md."""
    parts = [
        "\n".join(f"- {name}: {text}" for name, text in result.header.items()),
        "### Targets",
        table(
            ("recipe", "best", "loss, pt", "disk", "transferred", "latency", "target", "met"),
            [_target_row(line) for line in lines(result)],
        ),
        "### Every file",
        table(
            ("made by", "file", "loss, pt", "disk", "transferred", "latency", "how"),
            [_row(figures(one, result.source)) for one in result.made],
        ),
    ]
    sections = {
        "Beside the peers": _statements(against_peers(result)),
        "The search beside the recipes": _statements(search_against_recipes(result)),
        "Orders": result.orders,
        "Not made": [f"{name}: {why}" for name, why in result.failures],
    }
    for title, items in sections.items():
        if items:
            parts += [f"### {title}", "\n".join(f"- {item}" for item in items)]
    return "\n\n".join(parts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    body = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in body)


def _target_row(line: Line) -> list[str]:
    target, best = line.target, line.best
    size = f"{'disk' if target.on_disk else 'transferred'} ≤ {target.size:.2f}"
    latency = "" if target.latency is None else f", latency ≤ {target.latency:.2f}"
    wanted = f"≤ {target.loss} pt, {size}{latency}"
    if best is None:
        return [target.title, "none", *("",) * 4, wanted, "no: nothing was made"]
    met = "yes" if line.met else f"no: {', '.join(line.misses)}"
    shrink = (
        f" ({best.shrink:.1f} {TIMES} fewer parameters)" if target.shrink and best.shrink else ""
    )
    return [target.title, f"`{best.subject.name}`{shrink}", *_numbers(best), wanted, met]


def _row(one: Figures) -> list[str]:
    subject = one.subject
    return [subject.tool, f"`{subject.name}`", *_numbers(one), subject.steps]


def _numbers(one: Figures) -> list[str]:
    loss, error = one.loss
    return [
        f"{loss:.2f} ± {error:.2f}",
        f"{one.disk:.3f}",
        f"{one.transferred:.3f}",
        f"{one.latency.median:.2f} ({one.latency.low:.2f} to {one.latency.high:.2f})",
    ]


def against_peers(result: Result) -> list[Comparison]:
    """Each peer's file and that of ours which stands best beside it.

    Where that is of another format, a second comparison has ours of the same format alone: a
    device may have the one runtime only.
    """
    own = [*result.own, *result.found]
    compared = []
    for peer in result.others if own else ():
        compared.append(best_against(peer, own))
        alike = [one for one in own if one.format == peer.format]
        if alike and compared[-1].own not in alike:
            compared.append(best_against(peer, alike))
    return compared


def search_against_recipes(result: Result) -> list[Comparison]:
    """Each recipe of the table and what the search found that stands best beside it."""
    return [best_against(one, result.found) for one in result.own] if result.found else []


def _statements(comparisons: Sequence[Comparison]) -> list[str]:
    return [f"{one.other.label}, {one.formats}: {one.sentence()}" for one in comparisons]


def as_json(result: Result) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "apiVersion": "fitment/v1",
        "kind": "CompressionBenchmark",
        **result.header,
        "targets": [
            {
                "recipe": line.target.title,
                "best": None if line.best is None else line.best.subject.name,
                "met": line.met,
                "misses": line.misses,
            }
            for line in lines(result)
        ],
        "files": [_json(figures(one, result.source)) for one in (result.source, *result.made)],
        "peers": [_compared(one) for one in against_peers(result)],
        "search": [_compared(one) for one in search_against_recipes(result)],
        "orders": result.orders,
        "failures": dict(result.failures),
    }


def _json(one: Figures) -> dict[str, Any]:
    return {
        "tool": one.subject.tool,
        "name": one.subject.name,
        "steps": one.subject.steps,
        "file_bytes": one.subject.file_bytes,
        "packed_bytes": one.subject.packed_bytes,
        "parameters": one.subject.parameters,
        "loss_points": one.loss[0],
        "loss_standard_error": one.loss[1],
        "disk_ratio": one.disk,
        "transferred_ratio": one.transferred,
        "latency_ratio": one.latency.median,
        "latency_quartiles": [one.latency.low, one.latency.high],
        "block_p50_seconds": one.subject.seconds,
    }


def _compared(one: Comparison) -> dict[str, Any]:
    return {
        "other": one.other.label,
        "formats": one.formats,
        "verdict": one.verdict,
        "own": one.own.name,
        "behind": one.behind,
        "ahead": one.ahead,
        "loss_points": one.loss[0],
        "loss_standard_error": one.loss[1],
        "bytes_ratio": one.bytes_ratio,
        "latency_ratio": one.latency.median,
        "latency_quartiles": [one.latency.low, one.latency.high],
    }
