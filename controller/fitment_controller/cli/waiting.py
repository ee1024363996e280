"""Following a rollout to its end: one line per change, and a status that says how it ended."""

from __future__ import annotations

import json
import time
from typing import Any

from fitment_controller.cli import output
from fitment_controller.cli.failures import ExitStatus, say
from fitment_controller.cli.output import Format
from fitment_controller.cli.rollout_tables import counts
from fitment_controller.client import Client, quoted

_POLL_SECONDS = 0.5


def wait_for_end(api: Client, id: str, format: Format, timeout_seconds: float | None) -> ExitStatus:
    """Prints changes until the rollout has ended.

    Args:
        api: the controller.
        id: of the rollout.
        format: JSON kinds print one object per change, on one line.
        timeout_seconds: None waits for ever.

    Returns:
        OK when completed, GATE_FAILED when failed or aborted, TIMEOUT when it took longer.
    """
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    seen: dict[str, str] = {}
    while True:
        rollout = api.get(f"/v1/rollouts{quoted(id)}")
        _print_changes(rollout, seen, format)
        if rollout["done"]:
            return _ended(rollout)
        if deadline is not None and time.monotonic() >= deadline:
            say(f"error: rollout {id} has not ended after {timeout_seconds:g} s")
            say(f"next:  fitment rollout explain {id}")
            return ExitStatus.TIMEOUT
        time.sleep(_POLL_SECONDS)


def _print_changes(rollout: dict[str, Any], seen: dict[str, str], format: Format) -> None:
    lines = {
        stratum["id"]: f"{stratum['state']}: {counts(stratum['counts'])}. {stratum['reason']}"
        for stratum in rollout["strata"]
    }
    lines["rollout"] = f"{rollout['state']}. {rollout['reason']}"
    changed = {name: line for name, line in lines.items() if seen.get(name) != line}
    seen.update(changed)
    if not changed:
        return
    if format is Format.TABLE:
        for name, line in changed.items():
            output.write(f"{name}  {line.strip()}")
    elif format is Format.NAME:
        output.write(str(rollout["state"]))
    else:
        output.write(json.dumps(rollout, ensure_ascii=False))


def _ended(rollout: dict[str, Any]) -> ExitStatus:
    if rollout["state"] == "completed":
        return ExitStatus.OK
    say(f"error: rollout {rollout['id']} {rollout['state']}: {rollout['reason']}")
    say(f"next:  fitment rollout explain {rollout['id']}")
    return ExitStatus.GATE_FAILED
