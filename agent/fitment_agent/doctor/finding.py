"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(str, Enum):
    """How much it matters."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One answer of one check.

    Attributes:
        name: of what was looked at.
        what: what is so, in one sentence.
        fix: the command, or the one thing to do, that mends it; None where nothing is to be done.
    """

    name: str
    level: Level
    what: str
    fix: str | None = None


def ok(name: str, what: str, fix: str | None = None) -> Finding:
    """It is as it should be; `fix` is then a hint."""
    return Finding(name, Level.OK, what, fix)


def warn(name: str, what: str, fix: str) -> Finding:
    """The agent works, but not as well as it could."""
    return Finding(name, Level.WARN, what, fix)


def fail(name: str, what: str, fix: str) -> Finding:
    """The agent cannot work like this."""
    return Finding(name, Level.FAIL, what, fix)
