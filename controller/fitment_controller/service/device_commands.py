"""Commands to single devices: comfort beside desired state, and lost when nobody is there."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Final

from fitment_contract.benchmark import BenchmarkMode
from fitment_contract.messages import Command, CommandName
from fitment_controller.errors import ConflictError, NotFoundError
from fitment_controller.store import Rows

BENCHMARK_LIFETIME: Final = timedelta(minutes=10)
"""A device that is told later than this does not measure any more."""


def report_command(device: str, now: datetime) -> Command:
    """Asks a device for its birth: facts and full state."""
    return Command(device=device, sent_at=now, id=uuid.uuid4().hex, name=CommandName.REPORT)


def benchmark_command(
    rows: Rows, device: str, model: str | None, mode: BenchmarkMode, now: datetime
) -> Command:
    """Asks a device to measure what it runs.

    Raises:
        NotFoundError: the device is unknown, or does not run the model.
        ConflictError: it is offline, or runs several models and none is named.
    """
    known = rows.devices.get([device]).get(device)
    if known is None:
        raise NotFoundError("device", device, "See `fitment device list`")
    if not known.online:
        raise ConflictError(f"{device} is offline", "Ask again when it is back")
    return measure_command(device, _running(rows, device, model), now, mode)


def measure_command(
    device: str, model: str, now: datetime, mode: BenchmarkMode | None = None
) -> Command:
    """The same, of a device that is known to run `model`; None is by its assignment's terms."""
    return Command(
        device=device,
        sent_at=now,
        id=uuid.uuid4().hex,
        name=CommandName.BENCHMARK,
        model=model,
        mode=mode,
        expires_at=now + BENCHMARK_LIFETIME,
    )


def _running(rows: Rows, device: str, model: str | None) -> str:
    reported = rows.reported.get([device])[device]
    running = sorted(name for name, found in reported.items() if found.state.active)
    known = f"It runs {', '.join(running)}" if running else "It runs none yet"
    if model is None and len(running) == 1:
        return running[0]
    if model is None:
        raise ConflictError(f"which model on {device}?", f"{known}: name one")
    if model not in running:
        raise NotFoundError(f"model in use on {device}", model, known)
    return model
