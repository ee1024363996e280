"""One stratum of a rollout: canaries for every change, then waves, or stop and take back.

Only devices that are online are given anything: an offline device proves nothing and keeps a
place. When a stratum waits for offline devices alone, it does so for one deadline; then they are
`unreached`, which is neither success nor failure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from fitment_contract.messages import EventLevel
from fitment_controller.decisions.gates import BAD, judge, verdict
from fitment_controller.decisions.members import Observation, is_to_measure_again, observe
from fitment_controller.decisions.transitions import (
    MEMBER,
    STRATUM,
    STRATUM_ENDED,
    TOUCHED,
    MemberEvent,
    StratumEvent,
    move,
)
from fitment_controller.domain import (
    GateVerdict,
    Member,
    MemberState,
    Rollout,
    RolloutState,
    Stratum,
    StratumState,
    VariantRef,
)


@dataclass(frozen=True)
class Assign:
    """Give the device `ref` for the rollout's model, as `generation` of its desired state."""

    device: str
    generation: int
    ref: VariantRef
    region: str
    deadline: datetime


@dataclass(frozen=True)
class Restore:
    """Give the device back what it ran, or withdraw the model where it ran nothing."""

    device: str
    generation: int
    ref: VariantRef | None
    region: str


Action = Assign | Restore


@dataclass(frozen=True)
class Audit:
    """Something for the log: what happened, and the numbers behind it."""

    name: str
    message: str
    level: EventLevel = EventLevel.INFO
    device: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


class StratumRun:
    """One step of one stratum. Made, run and thrown away; what it was given is never changed."""

    def __init__(
        self,
        rollout: Rollout,
        stratum: Stratum,
        members: Iterable[Member],
        seen: Mapping[str, Observation],
        now: datetime,
    ) -> None:
        self.stratum = stratum
        self.members = {member.device: member for member in members}
        self.actions: list[Action] = []
        self.audits: list[Audit] = []
        self.measure: list[str] = []
        self._rollout = rollout
        self._policy = rollout.request.policy
        self._seen = seen
        self._now = now

    def advance(self) -> None:
        """Take in the reports, judge, and go on where the rollout's state allows it."""
        if self.stratum.state in STRATUM_ENDED:
            return
        self._observe()
        if self.stratum.state is StratumState.PENDING:
            if self._rollout.state is not RolloutState.RUNNING:
                self._settle_abort()
                return
            self._move(StratumEvent.START, "canaries first")
        touched = self._in(TOUCHED)
        judged = GateVerdict.WAIT
        if touched:
            gates = judge(self._rollout, touched, self.stratum.state is StratumState.CANARY)
            self._update(gates=gates)
            judged = verdict(gates)
        if judged is GateVerdict.FAIL:
            failed = [gate for gate in self.stratum.gates if gate.verdict is GateVerdict.FAIL]
            self._fail("; ".join(f"{gate.name}: {gate.reason}" for gate in failed))
        elif self._rollout.state is RolloutState.ABORTING:
            self._settle_abort()
        elif self._rollout.state is RolloutState.RUNNING:
            self._go_on(judged)
        self._count()

    def take_back(self, reason: str) -> None:
        """End the stratum now and assign every touched device back."""
        if self.stratum.state is not StratumState.FAILED:
            self._restore(TOUCHED)
            self._release()
            if self.stratum.state is not StratumState.ABORTED:
                self._move(StratumEvent.ABORT, reason)
            self._count()

    # ------------------------------------------------------------------------------- steps

    def _observe(self) -> None:
        for member in list(self.members.values()):
            after = observe(member, self._seen[member.device], self._now)
            if is_to_measure_again(after, self._seen[member.device], self._now):
                after = after.model_copy(update={"asked_at": self._now})
                self.measure.append(after.device)
            if after is member:
                continue
            self.members[member.device] = after
            if after.state is not member.state:
                self._update(since=self._now)
            if after.state in BAD and member.state is not after.state:
                self.audits.append(
                    Audit(
                        "device-failed",
                        f"{after.device} did not take {after.after.variant}: {after.reason}",
                        EventLevel.WARNING,
                        after.device,
                        {"failure": after.failure, "variant": after.after.variant},
                    )
                )

    def _go_on(self, judged: GateVerdict) -> None:
        if self.stratum.state is StratumState.CANARY:
            self._canaries(judged)
        elif self.stratum.state is StratumState.WAVES:
            self._waves(judged)

    def _canaries(self, judged: GateVerdict) -> None:
        """As many canaries per distinct change as the policy asks for, or all that there are."""
        short = False
        for group in self._changes().values():
            have = sum(member.wave == 0 for member in group)
            lacking = min(self._policy.canary_count, len(group)) - have
            ready = self._ready(group)[: max(lacking, 0)]
            for member in ready:
                self._assign(member, wave=0)
            short = short or lacking > len(ready)
        if self._in({MemberState.ASSIGNED}):
            self._because("canaries: " + self._slowest())
        elif short:
            self._wait_for_offline()
        elif not self._in(TOUCHED):
            self._fail("no device came online before the deadline")
        elif judged is GateVerdict.PASS:
            self._move(StratumEvent.PROMOTE, "every canary is proved", evidence=self._evidence())

    def _waves(self, judged: GateVerdict) -> None:
        size = max(1, math.ceil(self._policy.wave_ratio * len(self.members)))
        in_flight = len(self._in({MemberState.ASSIGNED}))
        ready = self._ready(self.members.values())
        in_wave = sum(member.wave == self.stratum.wave for member in self.members.values())
        if judged is GateVerdict.PASS and ready and (self.stratum.wave == 0 or in_wave >= size):
            self._update(wave=self.stratum.wave + 1, since=self._now)
            self.audits.append(
                Audit("wave-started", f"{self.stratum.id}: wave {self.stratum.wave}")
            )
            in_wave = 0
        room = min(size - in_wave, self._policy.max_in_flight - in_flight)
        for member in ready[: max(room, 0)] if self.stratum.wave else []:
            self._assign(member, self.stratum.wave)
        if self._in({MemberState.ASSIGNED}):
            self._because(f"wave {self.stratum.wave}: " + self._slowest())
        elif self._in({MemberState.PENDING}):
            self._wait_for_offline()
        elif judged is GateVerdict.PASS:
            self._complete()

    def _wait_for_offline(self) -> None:
        """Nothing is left to do but to wait for devices that are offline, for one deadline."""
        pending = [member for member in self._in({MemberState.PENDING}) if not self._online(member)]
        patience = timedelta(seconds=self._policy.deadline_seconds)
        if not pending or self._now < self.stratum.since + patience:
            self._because(
                f"waiting for {len(pending)} offline devices, first {self._first(pending)}"
            )
            return
        for member in pending:
            self._change(member, MemberEvent.SKIP, reason="offline until the rollout went on")
        self._update(since=self._now)

    def _complete(self) -> None:
        failed = self._restore(BAD)
        unreached = len(self._in({MemberState.UNREACHED}))
        reason = f"{len(self._in({MemberState.SUCCEEDED}))} proved"
        reason += f", {failed} failed and went back" if failed else ""
        reason += f", {unreached} not reached" if unreached else ""
        self._move(StratumEvent.COMPLETE, reason, evidence=self._evidence())

    def _fail(self, reason: str) -> None:
        self._restore(TOUCHED)
        self._release()
        self._move(StratumEvent.FAIL, reason, EventLevel.ERROR, self._evidence())

    def _settle_abort(self) -> None:
        """Let those on their way finish, then end."""
        if self._in({MemberState.ASSIGNED}):
            self._because("aborting: " + self._slowest())
            return
        if self._rollout.state is RolloutState.ABORTING:
            self._restore(BAD)
            self._release()
            self._move(StratumEvent.ABORT, "aborted; what was proved stays")

    # --------------------------------------------------------------------------- small parts

    def _in(self, states: Iterable[MemberState]) -> list[Member]:
        wanted = set(states)
        return [member for member in self.members.values() if member.state in wanted]

    def _online(self, member: Member) -> bool:
        return self._seen[member.device].online

    def _ready(self, members: Iterable[Member]) -> list[Member]:
        waiting = (member for member in members if member.state is MemberState.PENDING)
        return sorted(
            (member for member in waiting if self._online(member)), key=lambda item: item.device
        )

    def _changes(self) -> dict[tuple[object, object], list[Member]]:
        groups: dict[tuple[object, object], list[Member]] = {}
        for member in self.members.values():
            if member.state is not MemberState.UNREACHED:
                before = member.before.digests if member.before else None
                groups.setdefault((before, member.after.digests), []).append(member)
        return groups

    def _assign(self, member: Member, wave: int) -> None:
        generation = self._seen[member.device].desired_generation + 1
        deadline = self._now + timedelta(seconds=self._policy.deadline_seconds)
        self._change(
            member,
            MemberEvent.ASSIGN,
            wave=wave,
            generation=generation,
            assigned_at=self._now,
            deadline=deadline,
            reason="assigned",
        )
        self.actions.append(
            Assign(member.device, generation, member.after, self.stratum.region, deadline)
        )
        self._update(since=self._now)

    def _restore(self, states: Iterable[MemberState]) -> int:
        members = self._in(states)
        for member in members:
            generation = self._seen[member.device].desired_generation + 1
            self._change(member, MemberEvent.REVERT, finished_at=self._now)
            self.actions.append(
                Restore(member.device, generation, member.before, self.stratum.region)
            )
        return len(members)

    def _release(self) -> None:
        for member in self._in({MemberState.PENDING}):
            self._change(member, MemberEvent.RELEASE, reason="the stratum stopped first")

    def _change(self, member: Member, event: MemberEvent, **changes: object) -> None:
        state = move(MEMBER, member.state, event)
        self.members[member.device] = member.model_copy(update={**changes, "state": state})

    def _move(
        self,
        event: StratumEvent,
        reason: str,
        level: EventLevel = EventLevel.INFO,
        evidence: Mapping[str, Any] | None = None,
    ) -> None:
        state = move(STRATUM, self.stratum.state, event)
        self._update(state=state, since=self._now, reason=reason)
        self.audits.append(
            Audit(
                f"stratum-{state.value}",
                f"{self.stratum.id}: {reason}",
                level,
                evidence=evidence or {},
            )
        )

    def _because(self, reason: str) -> None:
        self._update(reason=reason)

    def _update(self, **changes: object) -> None:
        self.stratum = self.stratum.model_copy(update=changes)

    def _count(self) -> None:
        states = Counter(member.state.value for member in self.members.values())
        self._update(counts=dict(sorted(states.items())))

    def _slowest(self) -> str:
        waiting = sorted(self._in({MemberState.ASSIGNED}), key=lambda item: item.device)
        return f"{len(waiting)} on their way, {waiting[0].device} {waiting[0].reason}"

    def _first(self, members: list[Member]) -> str:
        return min((member.device for member in members), default="none")

    def _evidence(self) -> dict[str, Any]:
        return {"gates": [gate.model_dump(mode="json") for gate in self.stratum.gates]}
