"""The bytes of a day: counted as they come, over restarts, and from zero on the next day."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

from fitment_agent.journal import Journal
from fitment_agent.spending import Spending
from support.agent_records import NOW

MIB = 1 << 20


class Wall:
    """A clock that is set by hand."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def opened(path: Path, wall: Wall) -> Spending:
    return Spending(Journal(path), wall, lambda: timezone.utc)


def test_what_came_is_counted_once_and_survives_a_kill(tmp_path: Path) -> None:
    wall = Wall(NOW)
    spending = opened(tmp_path / "journal.db", wall)
    spending.begin()
    for bytes_transferred in (MIB // 2, MIB + 1, 3 * MIB):
        spending.note(bytes_transferred)
        assert spending.today_bytes() == spending.transfer_bytes == bytes_transferred
    spending.note(3 * MIB + 5)  # killed before this is collected into a mebibyte
    assert opened(tmp_path / "journal.db", wall).today_bytes() == 3 * MIB
    spending.note(3 * MIB + 5, is_over=True)
    assert opened(tmp_path / "journal.db", wall).today_bytes() == 3 * MIB + 5


def test_transfers_of_a_day_add_up_and_the_next_day_begins_at_zero(tmp_path: Path) -> None:
    wall = Wall(NOW)
    spending = opened(tmp_path / "journal.db", wall)
    for bytes_transferred in (10, 20):
        spending.begin()
        spending.note(bytes_transferred)
    assert spending.today_bytes() == 30
    spending.settle()
    wall.now += timedelta(days=1)
    assert spending.today_bytes() == 0


def test_storage_that_refuses_costs_a_part_of_the_count_only(tmp_path: Path) -> None:
    wall = Wall(NOW)
    opened(tmp_path / "journal.db", wall)
    spending = Spending(Journal.read_only(tmp_path / "journal.db"), wall, lambda: timezone.utc)
    spending.begin()
    spending.note(2 * MIB)
    assert spending.today_bytes() == 2 * MIB
