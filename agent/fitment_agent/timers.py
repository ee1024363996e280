"""Things to be done later, by the monotonic clock: setting the wall clock changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable


class Timers:
    """At most one pending call per key.

    Args:
        clock: tells monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pending: dict[Hashable, tuple[float, Callable[[], None]]] = {}

    def after(self, seconds: float, key: Hashable, call: Callable[[], None]) -> None:
        """Call `call` in `seconds`, instead of what was pending under `key`."""
        self._pending[key] = (self._clock() + max(seconds, 0.0), call)

    def is_set(self, key: Hashable) -> bool:
        """Whether something is pending under `key`."""
        return key in self._pending

    def cancel(self, key: Hashable) -> None:
        """Forget what is pending under `key`."""
        self._pending.pop(key, None)

    def seconds_to_next(self) -> float | None:
        """How long nothing is due; None when nothing is pending."""
        if not self._pending:
            return None
        return max(min(due for due, _ in self._pending.values()) - self._clock(), 0.0)

    def take_due(self) -> list[Callable[[], None]]:
        """The calls that are due, in order; they are no longer pending."""
        now = self._clock()
        due = [key for key, (moment, _) in self._pending.items() if moment <= now]
        due.sort(key=lambda key: self._pending[key][0])
        return [self._pending.pop(key)[1] for key in due]
