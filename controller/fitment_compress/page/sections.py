"""What sections of the page are made of: headings, cells, badges, the words for emptiness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from fitment_compress.page.markup import Markup, element, join

T = TypeVar("T")

DASH: Final = "\u2013"
"""What a cell says that has nothing to say; read out as "not measured"."""


def section(identity: str, heading: str, *content: Markup) -> Markup:
    """A section that the contents list can lead to."""
    title = element("h2", heading, id=f"{identity}-heading")
    return element("section", title, *content, id=identity, aria_labelledby=f"{identity}-heading")


def most_important(
    items: Sequence[T], most: int, important: Callable[[T], bool], what: str
) -> tuple[Sequence[T], Markup]:
    """At most so many items, the important ones first in line, and a note about the rest."""
    if len(items) <= most:
        return items, Markup("")
    places = sorted(range(len(items)), key=lambda place: (not important(items[place]), place))
    left_out = f"{len(items) - most} more {what} are in portfolio.json."
    return [items[place] for place in sorted(places[:most])], paragraph(left_out, kind="note")


def paragraph(*content: str | Markup, kind: str = "") -> Markup:
    """A paragraph; `note` is the smaller kind."""
    return element("p", *content, _class=kind) if kind else element("p", *content)


def number(words: str, sort: float | None = None) -> Markup:
    """A cell of a column of numbers.

    Args:
        words: the number, or nothing where it was not measured.
        sort: what to sort by where the words do not begin with it.
    """
    if not words:
        return element("td", nothing())
    if sort is None:
        return element("td", minus(words))
    return element("td", minus(words), data_s=f"{sort:.6g}")


def minus(words: str) -> str:
    """A negative number with the sign that is as wide as a plus."""
    return "\u2212" + words[1:] if words.startswith("-") else words


def nothing() -> Markup:
    """The sign for what was not measured."""
    return element("span", DASH, _class="none", aria_label="not measured", role="img")


def heading(words: str, unit: str = "", **attributes: str | int) -> Markup:
    """The head of a column, the unit below the words."""
    inside = join(words, element("small", unit)) if unit else join(words)
    return element("th", inside, scope="col", **attributes)


def scrolling(table: Markup, label: str) -> Markup:
    """A table that scrolls within the page, also with the keyboard."""
    return element("div", table, _class="scroll", role="region", aria_label=label, tabindex=0)


def picture(drawing: Markup) -> Markup:
    """A cell with a drawing of 14 units height; the number beside it is its alternative."""
    if not drawing:
        return element("td")
    return element("td", element("svg", drawing, aria_hidden="true"), _class="p")


def bar(kind: str, left: float, right: float) -> Markup:
    """A horizontal bar in such a drawing, visible however short."""
    width = max(right - left, 0.5)
    return element("path", _class=kind, d=f"M{left:.1f} 2h{width:.1f}v10h-{width:.1f}z")
