"""Files to write, kept in their own syntax beside this module."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "files"


def fill(name: str, **values: str) -> bytes:
    """The file called `name`, with `@VALUE@` replaced by each value."""
    text = (_FOLDER / name).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key.upper()}@", value)
    return text.encode()
