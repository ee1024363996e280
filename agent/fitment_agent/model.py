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

from fitment_agent.activation import Activation, Pointers
from fitment_agent.errors import UnknownModelError


@dataclass(frozen=True)
class ActiveModel:
    """A proved variant, ready to be loaded.

    The file stays where it is while the variant is active or the previous one, so an application
    has until the change after the next to notice a change.

    Attributes:
        path: the model file.
        runtime: the runtime that was measured with it (`onnxruntime`, `litert`).
        session_options: what it was measured with: `threads` and `providers`.
        digest: SHA-256 of the file.
        generation: of the desired state that brought it.
    """

    name: str
    path: Path
    runtime: str
    session_options: Mapping[str, Any]
    variant: str
    digest: str
    generation: int
    state_dir: Path

    def changed(self) -> bool:
        """Whether another variant is active by now. Costs one small file read."""
        now = _current(self.name, self.state_dir)
        return now is not None and now.digest != self.digest


def model(name: str, state_dir: Path | str | None = None) -> ActiveModel:
    """The active variant of the model called `name`.

    Args:
        name: as the fleet calls the model.
        state_dir: the agent's state directory; found through the agent's settings when None.

    Raises:
        UnknownModelError: nothing is active under that name on this device.
    """
    folder = Path(state_dir) if state_dir is not None else _configured_state_dir()
    current = _current(name, folder)
    if current is None:
        raise UnknownModelError(
            f"No variant of {name!r} is active in {folder}.",
            "Roll one out, or name the agent's state directory.",
        )
    return ActiveModel(
        name=name,
        path=folder / current.path,
        runtime=current.runtime,
        session_options=current.session_options,
        variant=current.variant,
        digest=current.digest,
        generation=current.generation,
        state_dir=folder,
    )


def _current(name: str, state_dir: Path) -> Activation | None:
    pointer = Pointers(state_dir).read(name)
    return pointer.current if pointer else None


def _configured_state_dir() -> Path:
    from fitment_agent.settings import load_settings

    return load_settings().state_dir
