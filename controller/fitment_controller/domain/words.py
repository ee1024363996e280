"""What devices say in codes, as people say it; the same on every screen and in the log."""

from __future__ import annotations

from datetime import timezone
from typing import Final

from fitment_contract.messages import Waiting, WaitReason

_REASONS: Final = {
    WaitReason.BATTERY: "battery",
    WaitReason.METERED: "metered link",
    WaitReason.THERMAL: "heat",
    WaitReason.BYTE_BUDGET: "the day's bytes are spent",
    WaitReason.WINDOW: "outside its hours",
    WaitReason.FOREGROUND: "somebody is using it",
    WaitReason.RETRY: "another try",
}


def waiting_words(waiting: Waiting) -> str:
    """For what a deployment waits and until when: `battery: 12 % left; until 14:05 UTC at the...`.

    The moment is the device's own, and its clock may be off.
    """
    words = f"{_REASONS[waiting.reason]}: {waiting.detail}"
    if waiting.until is None:
        return words
    until = waiting.until.astimezone(timezone.utc)
    return f"{words}; until {until:%Y-%m-%d %H:%M} UTC at the latest"
