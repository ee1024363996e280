"""What the command line shows, made from what would be reported."""

from __future__ import annotations

import time
from datetime import datetime, timezone

import pytest

from fitment_agent.screens import status_text
from fitment_contract.messages import ModelState, Waiting, WaitReason
from fitment_contract.phase import Phase


def test_a_model_that_waits_says_until_when_by_the_clock_on_the_wall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "UTC-3")  # three hours ahead, as POSIX writes it
    time.tzset()
    waiting = Waiting(
        reason=WaitReason.WINDOW,
        detail="outside its hours",
        until=datetime(2026, 12, 1, 20, 30, tzinfo=timezone.utc),
    )
    state = ModelState(model="activity", generation=1, phase=Phase.WAITING, waiting=waiting)
    screen = {
        **{"device": "pi-5", "running": True, "pid": 7, "generation": 1, "unsent": 0},
        "models": [state.model_dump(mode="json")],
    }
    try:
        assert "window: outside its hours, until 2026-12-01 23:30" in status_text(screen)
    finally:
        monkeypatch.undo()
        time.tzset()
