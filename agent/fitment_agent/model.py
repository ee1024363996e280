"""How an application on the device finds the variant it is to run.

    from fitment_agent import model

    active = model("activity")
    session = onnxruntime.InferenceSession(active.path)
    ...
    if active.changed():
        active = model("activity")

Reading a pointer imports neither pydantic nor any runtime.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fitment_agent.activation import Pointer, Pointers
from fitment_agent.errors import UnknownModelError


@dataclass(frozen=True)
class ActiveModel:
    """A proved variant, ready to be loaded.

    The file stays where it is while the variant is active, on standby or the previous one, so an
    application has until the change after the next to notice a change.

    Attributes:
        path: the model file.
        runtime: the runtime that was measured with it (`onnxruntime`, `litert`).
        session_options: what it runs best with here, as far as that was measured: `threads`,
            `affinity` (cores to stay on; empty for all), `providers` (in order of preference) and
            `arena` (whether the runtime keeps freed memory). A thread that calls
            `os.sched_setaffinity(0, affinity)` before it loads the model hands the cores on to
            the runtime's own threads.
        digest: SHA-256 of the file.
        generation: of the desired state that brought it.
        mode: `normal`, or `low_power` while the device is short of energy or hot.
    """

    name: str
    path: Path
    runtime: str
    session_options: Mapping[str, Any]
    variant: str
    digest: str
    generation: int
    mode: str
    state_dir: Path

    def changed(self) -> bool:
        """Whether to load again: another variant is in use by now, or better session options.

        Costs one small file read.
        """
        pointer = Pointers(self.state_dir).read(self.name)
        if pointer is None:
            return False
        now = pointer.current
        return (now.digest, now.session_options) != (self.digest, self.session_options)


def model(name: str, state_dir: Path | str | None = None) -> ActiveModel:
    """The variant of the model called `name` that is to be used now.

    Args:
        name: as the fleet calls the model.
        state_dir: the agent's state directory; found through the agent's settings when None.

    Raises:
        UnknownModelError: nothing is active under that name on this device.
    """
    folder = Path(state_dir) if state_dir is not None else _configured_state_dir()
    pointer = Pointers(folder).read(name)
    if pointer is None:
        raise UnknownModelError(
            f"No variant of {name!r} is active in {folder}.",
            "Roll one out, or name the agent's state directory.",
        )
    return _as_model(name, pointer, folder)


def _as_model(name: str, pointer: Pointer, state_dir: Path) -> ActiveModel:
    current = pointer.current
    return ActiveModel(
        name=name,
        path=state_dir / current.path,
        runtime=current.runtime,
        session_options=current.session_options,
        variant=current.variant,
        digest=current.digest,
        generation=current.generation,
        mode=pointer.active.mode,
        state_dir=state_dir,
    )


def _configured_state_dir() -> Path:
    from fitment_agent.settings import load_settings

    return load_settings().state_dir
