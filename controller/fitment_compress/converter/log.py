"""What a program's log says in the end."""

from __future__ import annotations

import re
from typing import Final

_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_LENGTH: Final = 300


def last_line(text: str) -> str:
    """The last line that has a word in it, without colours and rules; empty when none has."""
    lines = [line.strip(" =-\t") for line in _COLOUR.sub("", text).splitlines()]
    found = next((line for line in reversed(lines) if any(map(str.isalpha, line))), "")
    return found[:_LENGTH]
