"""Places labels beside points so that no label covers a point or another label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

LINE: Final = 13.0
"""The height of a line of label text, in units of the picture."""

_CHARACTER: Final = 6.9
"""The mean width of a character at that size; cautious for the usual sans-serif faces."""


@dataclass(frozen=True)
class Box:
    """A rectangle; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two share an area."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def within(self, other: Box) -> bool:
        """Whether it lies wholly in the other."""
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.top <= self.top
            and self.bottom <= other.bottom
        )


@dataclass(frozen=True)
class Spot:
    """A point that wants a label.

    Attributes:
        x, y, radius: of what is drawn there.
        texts: what the label may say, the preferred first.
    """

    x: float
    y: float
    radius: float
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Label:
    """Text in its place."""

    text: str
    box: Box


def box_around(x: float, y: float, radius: float) -> Box:
    """What a point covers."""
    return Box(x - radius, y - radius, x + radius, y + radius)


def place(
    spots: Sequence[Spot], frame: Box, obstacles: Iterable[Box] = ()
) -> tuple[Label | None, ...]:
    """A label for each point, in order of importance; None where there is no room for any text.

    Args:
        spots: all points, also those that want no label: none of them is covered.
        frame: labels stay within.
        obstacles: what else must not be covered.
    """
    taken = [*obstacles, *(box_around(spot.x, spot.y, spot.radius) for spot in spots)]
    labels: list[Label | None] = []
    for spot in spots:
        label = next(
            (
                Label(text, box)
                for text in spot.texts
                for box in _around(spot, len(text) * _CHARACTER)
                if box.within(frame) and not any(box.overlaps(other) for other in taken)
            ),
            None,
        )
        labels.append(label)
        if label is not None:
            taken.append(label.box)
    return tuple(labels)


def _around(spot: Spot, width: float) -> Iterable[Box]:
    """Right, left, above, below, and the corners; then the same a little further away."""
    for gap in (3.0, 9.0):
        reach = spot.radius + gap
        middle, over, under = spot.y - LINE / 2, spot.y - reach - LINE + 2, spot.y + reach - 2
        right, left, centre = spot.x + reach, spot.x - reach - width, spot.x - width / 2
        for x, y in (
            (right, middle),
            (left, middle),
            (centre, over),
            (centre, under),
            (right, over),
            (right, under),
            (left, over),
            (left, under),
        ):
            yield Box(x, y, x + width, y + LINE)
