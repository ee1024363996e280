"""What sections of the page are made of: headings, cells, badges, the words for emptiness."""

from __future__ import annotations

from typing import Final

from fitment_compress.page.markup import Markup, element, join

DASH: Final = "\u2013"
"""What a cell says that has nothing to say; read out as "not measured"."""


def section(identity: str, heading: str, *content: Markup) -> Markup:
    """A section that the contents list can lead to."""
    title = element("h2", heading, id=f"{identity}-heading")
    return element("section", title, *content, id=identity, aria_labelledby=f"{identity}-heading")


def paragraph(*content: str | Markup, kind: str = "") -> Markup:
    """A paragraph; `note` is the smaller kind."""
    return element("p", *content, _class=kind) if kind else element("p", *content)


def number(words: str, sort: float | None = None) -> Markup:
    """A cell of a column of numbers; `sort` is the value to sort by, if the words do not say it."""
    if not words:
        return element("td", nothing(), _class="n")
    if sort is None:
        return element("td", words, _class="n")
    return element("td", words, _class="n", data_s=f"{sort:.9g}")


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


def picture(drawing: Markup, width: int) -> Markup:
    """A cell with a small drawing of 14 units height; the number beside it is its alternative."""
    if not drawing:
        return element("td", _class="p")
    box = f"0 0 {width} 14"
    svg = element("svg", drawing, aria_hidden="true", width=width, height=14, viewBox=box)
    return element("td", svg, _class="p")
