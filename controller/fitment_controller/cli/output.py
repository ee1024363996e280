"""Data on standard output: tables for people, JSON and YAML for programs.

JSON is the contract, tables are not. Nothing is cut off and nothing is coloured unless a terminal
reads it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from enum import Enum
from typing import Any, Final

from fitment_controller.settings import wants_colour

Item = Mapping[str, Any]
Column = tuple[str, Callable[[Item], str]]

_COLOURS: Final = {"green": "32", "yellow": "33", "red": "31", "dim": "2"}
_GLYPHS: Final = {"green": ("✔", "+"), "yellow": ("…", "~"), "red": ("✖", "!"), "dim": ("·", "-")}
_MOODS: Final = {
    "green": {
        *("active", "completed", "succeeded", "pass", "chosen", "online", "listed", "info"),
        *("valid",),
    },
    "red": {
        *("rolled_back", "failed", "timed_out", "fail", "rejected", "offline", "aborted"),
        *("reverted", "error", "unreached"),
    },
    "dim": {"pending", "released", "eligible", "none"},
}


class Format(str, Enum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    YAML = "yaml"
    NAME = "name"


class Painted(str):
    """Text with a colour that does not count as width."""

    colour = ""


def emit(
    document: Item, format: Format, table: Callable[[Item], Iterable[str]], name: str = "id"
) -> None:
    """Prints a document.

    Args:
        document: one object, or a list with `items`.
        format: as asked.
        table: the lines for people.
        name: the field that `-o name` prints.
    """
    items = document["items"] if isinstance(document.get("items"), list) else [document]
    if format is Format.JSON:
        write(json.dumps(document, indent=2, ensure_ascii=False))
    elif format is Format.JSONL:
        for item in items:
            write(json.dumps(item, ensure_ascii=False))
    elif format is Format.YAML:
        import yaml

        write(yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True).rstrip())
    elif format is Format.NAME:
        for item in items:
            write(str(item.get(name, "")))
    else:
        for line in table(document):
            write(line)


def write(line: str) -> None:
    """One line of data."""
    if sys.stdout is None:  # closed by whoever started us
        return
    encoding = sys.stdout.encoding or "ascii"
    text = line.encode(encoding, "replace").decode(encoding)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def rows(columns: Sequence[Column], items: Iterable[Item]) -> list[str]:
    """Aligned columns under their titles."""
    cells = [[text(item) for _, text in columns] for item in items]
    widths = [
        max([len(title), *(len(row[index]) for row in cells)])
        for index, (title, _) in enumerate(columns)
    ]
    lines = [_line([title for title, _ in columns], widths)]
    return [*lines, *(_line(row, widths) for row in cells)]


def fields(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Names and values below each other; empty values are left out."""
    shown = [(name, value) for name, value in pairs if value not in ("", "-")]
    width = max((len(name) for name, _ in shown), default=0)
    return [f"{name.ljust(width)}  {paint(value)}" for name, value in shown]


def state(word: str | None) -> str:
    """A state as glyph and word, coloured by its mood."""
    word = word or "none"
    mood = next((mood for mood, words in _MOODS.items() if word in words), "yellow")
    return painted(f"{_GLYPHS[mood][0 if _speaks_unicode() else 1]} {word}", mood)


def painted(text: str, colour: str) -> Painted:
    """Text that a terminal shows in `colour`."""
    result = Painted(text)
    result.colour = colour
    return result


def paint(text: str, width: int = 0) -> str:
    """Text padded to `width`, with its colour where a terminal shows colours."""
    padded = str(text).ljust(width)
    if isinstance(text, Painted) and colours():
        return f"\x1b[{_COLOURS[text.colour]}m{padded}\x1b[0m"
    return padded


def colours() -> bool:
    """Whether standard output is a terminal that wants colours."""
    return sys.stdout is not None and sys.stdout.isatty() and wants_colour()


def size(count: float | None) -> str:
    """Bytes for people."""
    if count is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float | None) -> str:
    """A latency for people."""
    if seconds is None:
        return "-"
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.1f} s"


def percent(ratio: float | None) -> str:
    """A ratio for people."""
    return "-" if ratio is None else f"{ratio * 100:.1f} %"


def plain(value: object) -> str:
    """Anything, with a dash for nothing."""
    return "-" if value is None or value == "" else str(value)


def number(value: float | None) -> str:
    """A number in its own unit, short but exact enough to compare with a limit."""
    return "-" if value is None else f"{value:.6g}"


def ago(moment: str | None) -> str:
    """How long a moment is past."""
    if moment is None:
        return "-"
    then = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    seconds = max(0, int((datetime.now(timezone.utc) - then).total_seconds()))
    for limit, divisor, unit in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{seconds // divisor} {unit} ago"
    return f"{seconds // 86400} d ago"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = [paint(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join(parts).rstrip()


def _speaks_unicode() -> bool:
    encoding = (sys.stdout.encoding or "") if sys.stdout is not None else ""
    return encoding.lower().replace("-", "").startswith("utf")
