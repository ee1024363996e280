"""The frame around every JSON answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel

API_VERSION: Final = "fitment/v1"


def single(kind: str, record: BaseModel) -> dict[str, Any]:
    """One object: `apiVersion`, `kind` and the record's fields beside them."""
    return {**record.model_dump(mode="json"), "apiVersion": API_VERSION, "kind": kind}


def listing(kind: str, records: Iterable[BaseModel], next: str | None = None) -> dict[str, Any]:
    """A list of objects; `next` is the cursor of the following page, null at the end."""
    items = [record.model_dump(mode="json") for record in records]
    return {"apiVersion": API_VERSION, "kind": kind, "items": items, "next": next}


def problem(reason: str, detail: str, next_step: str = "", **fields: Any) -> dict[str, Any]:
    """An error: a stable word, what was wrong, and what to do about it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Error",
        "reason": reason,
        "detail": detail,
        "next": next_step,
        **fields,
    }
