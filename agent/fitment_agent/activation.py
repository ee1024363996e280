"""The pointer that says which variant of a model applications use: `models/<model>/active.json`.

The pointer is the only truth about what is active: the journal may be lost, the pointer may not.
It is replaced whole and durably, and names the variant before it, which is never evicted. This
module needs the standard library only, because applications read pointers through it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from fitment_agent.durable import sync_folder, write_durably

_log = logging.getLogger(__name__)
_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
POINTER_FILE: Final = "active.json"


@dataclass(frozen=True)
class Activation:
    """One variant that was made active.

    Attributes:
        generation: of the desired state that it was proved for.
        digest: SHA-256 of the file.
        path: of the file, relative to the state directory.
        session_options: what the trial measured with: `threads` and `providers`.
        activated_at: RFC 3339.
        artifacts: digests of all files that belong to it.
    """

    model: str
    generation: int
    variant: str
    model_version: int
    digest: str
    path: str
    runtime: str
    session_options: Mapping[str, Any]
    activated_at: str
    artifacts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pointer:
    """What `active.json` says: the active variant and the one a rollback returns to."""

    current: Activation
    previous: Activation | None = field(default=None)

    def moved_to(self, activation: Activation) -> Pointer:
        """The pointer once `activation` is the active one."""
        if activation.digest == self.current.digest:
            return replace(self, current=activation)
        return Pointer(activation, self.current)

    def artifacts(self) -> frozenset[str]:
        """Digests that eviction must spare."""
        kept = {self.current.digest, *self.current.artifacts}
        if self.previous:
            kept |= {self.previous.digest, *self.previous.artifacts}
        return frozenset(kept)


class Pointers:
    """The pointers under one state directory.

    Args:
        state_dir: the agent's state directory.
    """

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "models"

    def path(self, model: str) -> Path:
        """Where the pointer of `model` is."""
        return self._folder / model / POINTER_FILE

    def read(self, model: str) -> Pointer | None:
        """The pointer of `model`; None when there is none, or none that can be read."""
        if not _MODEL_NAME.fullmatch(model):
            return None
        try:
            return _parse(self.path(model).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            _log.warning("the pointer of %s cannot be read: %s", model, error)
            return None

    def all(self) -> dict[str, Pointer]:
        """Every readable pointer, by model, in the order of names."""
        return {model: found for model in self._models() if (found := self.read(model))}

    def write(self, model: str, pointer: Pointer) -> None:
        """Make `pointer` what applications see, durably.

        Raises:
            OSError: the storage refused; the old pointer is still there.
        """
        content = asdict(pointer.current)
        content["previous"] = asdict(pointer.previous) if pointer.previous else None
        write_durably(self.path(model), json.dumps(content, indent=2).encode())

    def remove(self, model: str) -> None:
        """Take a pointer away, durably: nothing is active any more."""
        self.path(model).unlink(missing_ok=True)
        sync_folder(self.path(model).parent)

    def _models(self) -> Iterator[str]:
        try:
            names = sorted(entry.name for entry in self._folder.iterdir())
        except OSError:
            names = []
        return (name for name in names if _MODEL_NAME.fullmatch(name))


def _parse(content: bytes) -> Pointer:
    raw = json.loads(content)
    previous = raw.pop("previous", None)
    return Pointer(_activation(raw), _activation(previous) if previous else None)


def _activation(raw: dict[str, Any]) -> Activation:
    names = Activation.__dataclass_fields__
    known = {key: value for key, value in raw.items() if key in names}
    known["artifacts"] = tuple(known.get("artifacts", ()))
    activation = Activation(**known)
    if not re.fullmatch(r"[0-9a-f]{64}", activation.digest):
        raise ValueError(f"{activation.digest!r} is no digest")
    return activation
