"""What a device finds after a power cut, against what it had told the world before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fitment_agent.activation import POINTER_FILE
from fitment_agent.errors import StorageError
from fitment_agent.state import AgentState
from support.update_story import Step, in_use, opened, perform, resume, settle, told

Told = dict[str, Any]
_NOTHING: Told = {"generation": 0, "session": 0, "models": {}}


class Corrupt(Exception):
    """Something on the disk is not whole, or cannot be brought to an end."""


class Lost(Exception):
    """Something that the world had been told is not so any more."""


def check(folder: Path, story: Sequence[Step], known: Sequence[Told], count: int) -> None:
    """Open the state as the agent does, look at it, and go on from there.

    Args:
        folder: the state directory, as it was found.
        story: the steps that were lived.
        known: what was told after each of them, without a cut.
        count: how many of them had been told before the cut.

    Raises:
        Corrupt, Lost: see there.
    """
    before = known[count - 1] if count else _NOTHING
    after = known[count] if count < len(known) else before
    with opened(folder) as state:
        if state.journal.faults:
            raise Corrupt("; ".join(state.journal.faults))
        check_files(folder, state)
        _check_told(state, before, after)
        _go_on(state, story, known, count)
        check_files(folder, state)


def check_files(folder: Path, state: AgentState) -> None:
    """Every pointer can be read, and every file that one names is whole.

    Raises:
        Corrupt: one is not.
    """
    for path in folder.glob(f"models/*/{POINTER_FILE}"):
        pointer = state.pointers.read(path.parent.name)
        if pointer is None:
            raise Corrupt(f"the pointer of {path.parent.name} cannot be read")
        for digest in pointer.artifacts():
            content = _content(state.blobs.path(digest))
            if hashlib.sha256(content).hexdigest() != digest:
                raise Corrupt(f"{pointer.current.variant}: {digest[:12]} has other content")


def check_variants(state: AgentState, wanted: Step) -> None:
    """Applications use what is wanted, and nothing is under way.

    Raises:
        Corrupt: they do not.
    """
    assert wanted.desired is not None
    for assignment in wanted.desired.assignments:
        found, deployment = in_use(state, assignment.model), state.deployments[assignment.model]
        if found is None or found["variant"] != assignment.variant.name:
            why = f"{deployment.phase.value}, {deployment.failure}"
            raise Corrupt(f"{assignment.model} ends as {found}: {why}")


def _check_told(state: AgentState, before: Told, after: Told) -> None:
    """All is as it was told last, or as the step that was cut short would have made it."""
    if not before["generation"] <= state.generation <= after["generation"]:
        raise Lost(f"generation {state.generation} after {before['generation']}")
    for model in {*before["models"], *after["models"]}:
        found = in_use(state, model)
        if found not in (before["models"].get(model), after["models"].get(model)):
            raise Lost(f"{model} is {found} after {before['models'].get(model)}")
    kept = [item.body["session"] for item in state.journal.outbox()]
    if before["session"] and before["session"] not in kept:
        raise Lost(f"the message of session {before['session']} is not kept")
    if state.journal.next_session() <= before["session"]:
        raise Lost(f"a session after {before['session']} is given again")


def _go_on(state: AgentState, story: Sequence[Step], known: Sequence[Told], count: int) -> None:
    """Recover, then do what is wanted: nobody lends a hand, and the end is the same."""
    try:
        resume(state)
        settle(state)
        cut_short = story[count : count + 1]
        if cut_short and cut_short[0].desired is not None:
            perform(state, cut_short[0])
            found, wanted = told(state, 0)["models"], known[count]["models"]
            if found != wanted:
                raise Corrupt(f"{found} instead of {wanted}")
        perform(state, story[-1])  # what is wanted now; all between was superseded meanwhile
    except StorageError as error:
        raise Corrupt(f"it cannot go on: {error}") from error
    check_variants(state, story[-1])


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
