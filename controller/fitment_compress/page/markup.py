"""HTML and SVG that cannot be broken out of: text is escaped unless it is markup already."""

from __future__ import annotations

from html import escape
from typing import Final

from fitment_compress.wording import printable

_EMPTY_IN_HTML: Final = frozenset({"meta", "col", "br"})
_EMPTY_IN_SVG: Final = frozenset({"line", "rect", "circle", "path", "polygon", "polyline"})

Attribute = str | int | float


class Markup(str):
    """Markup made by `element`; any other string is text."""

    __slots__ = ()


def element(name: str, /, *children: str | Markup, **attributes: Attribute) -> Markup:
    """An element with children in order.

    Args:
        name: of the element.
        children: markup as it is, text escaped.
        attributes: values are escaped; a leading underscore is dropped (`_class`, `_for`), other
            underscores become dashes (`aria_label`), floats keep one decimal.
    """
    given = "".join(
        f' {key.lstrip("_").replace("_", "-")}="{text(_value(value))}"'
        for key, value in attributes.items()
    )
    if name in _EMPTY_IN_HTML:
        return Markup(f"<{name}{given}>")
    if name in _EMPTY_IN_SVG and not children:
        return Markup(f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{join(*children)}</{name}>")


def join(*children: str | Markup) -> Markup:
    """Children without an element around them."""
    return Markup("".join(c if isinstance(c, Markup) else text(c) for c in children))


def text(value: str) -> Markup:
    """Text as markup that says exactly that; unprintable characters become U+FFFD."""
    return Markup(escape(printable(value)))


def _value(value: Attribute) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
