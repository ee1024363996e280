"""Rollouts and their members."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, or_, select

from fitment_controller.decisions.transitions import ROLLOUT_ENDED, TOUCHED
from fitment_controller.domain import Member, MemberState, Page, Rollout
from fitment_controller.store.rows import chunks, seconds, upsert
from fitment_controller.store.tables import rollout_members, rollouts

_ENDED = [state.value for state in ROLLOUT_ENDED]
_HELD = [MemberState.PENDING.value, *(state.value for state in TOUCHED)]


class RolloutRows:
    """Rollouts within one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, rollout: Rollout) -> None:
        """Insert or replace."""
        row = {
            "id": rollout.id,
            "model": rollout.request.model,
            "state": rollout.state.value,
            "created_at": seconds(rollout.created_at),
            "body": rollout.model_dump_json(),
        }
        upsert(self._connection, rollouts, [row])

    def get(self, id: str) -> Rollout | None:
        """One rollout."""
        body = self._connection.scalar(select(rollouts.c.body).where(rollouts.c.id == id))
        return None if body is None else Rollout.model_validate_json(body)

    def unfinished(self) -> list[Rollout]:
        """Those that may still move, oldest first."""
        query = select(rollouts.c.body).where(rollouts.c.state.not_in(_ENDED))
        bodies = self._connection.scalars(query.order_by(rollouts.c.created_at, rollouts.c.id))
        return [Rollout.model_validate_json(body) for body in bodies]

    def page(self, limit: int, cursor: str | None) -> Page[Rollout]:
        """Newest first, after the rollout called `cursor`."""
        query = select(rollouts.c.body)
        after = self.get(cursor) if cursor is not None else None
        if after is not None:
            created = seconds(after.created_at)
            query = query.where(
                or_(
                    rollouts.c.created_at < created,
                    and_(rollouts.c.created_at == created, rollouts.c.id < after.id),
                )
            )
        query = query.order_by(rollouts.c.created_at.desc(), rollouts.c.id.desc())
        bodies = self._connection.scalars(query.limit(limit + 1))
        found = [Rollout.model_validate_json(body) for body in bodies]
        more = len(found) > limit
        return Page[Rollout](items=tuple(found[:limit]), next=found[limit - 1].id if more else None)

    def members(self, id: str) -> list[Member]:
        """Every member of one rollout, by device."""
        query = select(rollout_members.c.body).where(rollout_members.c.rollout == id)
        bodies = self._connection.scalars(query.order_by(rollout_members.c.device))
        return [Member.model_validate_json(body) for body in bodies]

    def member_page(self, id: str, limit: int, cursor: str | None) -> Page[Member]:
        """Members by device, after the device `cursor`."""
        query = select(rollout_members.c.body).where(rollout_members.c.rollout == id)
        if cursor is not None:
            query = query.where(rollout_members.c.device > cursor)
        bodies = self._connection.scalars(query.order_by(rollout_members.c.device).limit(limit + 1))
        found = [Member.model_validate_json(body) for body in bodies]
        more = len(found) > limit
        return Page[Member](
            items=tuple(found[:limit]), next=found[limit - 1].device if more else None
        )

    def put_members(self, id: str, members: Sequence[Member]) -> None:
        """Insert or replace."""
        rows = [
            {
                "rollout": id,
                "device": member.device,
                "stratum": member.stratum,
                "state": member.state.value,
                "body": member.model_dump_json(),
            }
            for member in members
        ]
        upsert(self._connection, rollout_members, rows)

    def busy(self, model: str, devices: Sequence[str]) -> dict[str, str]:
        """Devices that an unfinished rollout of `model` holds, to that rollout."""
        held: dict[str, str] = {}
        for some in chunks(list(devices)):
            query = (
                select(rollout_members.c.device, rollout_members.c.rollout)
                .join_from(rollout_members, rollouts)
                .where(
                    rollouts.c.model == model,
                    rollouts.c.state.not_in(_ENDED),
                    rollout_members.c.state.in_(_HELD),
                    rollout_members.c.device.in_(some),
                )
            )
            held.update((row.device, row.rollout) for row in self._connection.execute(query))
        return held
