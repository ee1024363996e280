"""What transfers moved on this local day, counted as the bytes come.

Counted while a transfer is under way, because an agent that is killed must not forget what its
transfers cost. Small amounts are collected first: each count is a synced write.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Final

from fitment_agent.clock import LocalZone
from fitment_agent.errors import StorageError
from fitment_agent.journal import Journal
from fitment_agent.windows import local_day
from fitment_contract.base import utc_now

_log = logging.getLogger(__name__)

_COLLECTED_BYTES: Final = 1024 * 1024


class Spending:
    """The bytes of this device's transfers.

    Args:
        journal: keeps the count of the day.
        clock: tells the wall time.
        zone: makes the zone in which days are counted.
    """

    def __init__(
        self,
        journal: Journal,
        clock: Callable[[], datetime] = utc_now,
        zone: Callable[[], tzinfo] = LocalZone,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._zone = zone
        self._counted = 0
        self._uncounted = 0

    def today_bytes(self) -> int:
        """What was moved on this local day."""
        return self._journal.bytes_on(self._day()) + self._uncounted

    def begin(self) -> None:
        """A transfer begins."""
        self.settle()
        self._counted, self._uncounted = 0, 0

    @property
    def transfer_bytes(self) -> int:
        """What the transfer under way has moved."""
        return self._counted + self._uncounted

    def note(self, bytes_transferred: int, is_over: bool = False) -> None:
        """The transfer under way has moved so many bytes since it began."""
        self._uncounted = max(bytes_transferred - self._counted, 0)
        if self._uncounted >= _COLLECTED_BYTES or is_over:
            self.settle()

    def settle(self) -> None:
        """Count what was collected; storage that refuses costs a part of the count, no more."""
        if not self._uncounted:
            return
        try:
            self._journal.count_bytes(self._day(), self._uncounted)
        except StorageError as error:
            _log.warning("%s", error)
            return
        self._counted += self._uncounted
        self._uncounted = 0

    def _day(self) -> str:
        return local_day(self._clock(), self._zone())
