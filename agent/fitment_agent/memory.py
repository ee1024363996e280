"""Keeps the idle daemon small."""

from __future__ import annotations

import ctypes
import gc


def settle() -> None:
    """Once everything is built: what exists now is never garbage, so do not look at it again."""
    give_back()
    gc.freeze()


def give_back() -> None:
    """Return freed memory to the system; glibc keeps it otherwise. Elsewhere it does nothing."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return
