"""The pointer that says which variant of a model applications use: `models/<model>/active.json`.

The pointer is the only truth about what is active: the journal may be lost, the pointer may not.
It is replaced whole and durably, and names the variant before it, which is never evicted. A model
may have a second variant for low power; then the pointer holds both, and says which is in use.
This module needs the standard library only, because applications read pointers through it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from fitment_agent.durable import sync_folder, write_durably

_log = logging.getLogger(__name__)
_MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
POINTER_FILE: Final = "active.json"

NORMAL: Final = "normal"
LOW_POWER: Final = "low_power"
"""The contract's power modes, spelled here because the contract needs pydantic."""


@dataclass(frozen=True)
class Activation:
    """One variant that applications may load.

    Attributes:
        generation: of the desired state that it was proved for.
        digest: SHA-256 of the file.
        path: of the file, relative to the state directory.
        session_options: `threads`, `affinity` (cores; empty for all), `providers` (in order of
            preference) and `arena`: what the trial measured with, or what was tuned since.
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

    def tuned(self, digest: str, options: Mapping[str, Any]) -> Activation:
        """With `options` in place of those of the same name, if it is of the file `digest`."""
        if digest != self.digest:
            return self
        return replace(self, session_options={**self.session_options, **options})


@dataclass(frozen=True)
class Pair:
    """What one assignment brought: a variant and, perhaps, a second one for low power.

    Attributes:
        mode: which of the two is in use: `NORMAL` or `LOW_POWER`.
    """

    normal: Activation
    low_power: Activation | None = None
    mode: str = NORMAL

    @property
    def in_use(self) -> Activation:
        """The variant that applications use now."""
        return self.low_power if self.low_power and self.mode == LOW_POWER else self.normal

    @property
    def standby(self) -> Activation | None:
        """The other one."""
        return self.normal if self.in_use is self.low_power else self.low_power

    def switched(self, mode: str) -> Pair:
        """The pair in another mode; one without a second variant is always in normal mode."""
        return replace(self, mode=mode if self.low_power else NORMAL)

    def tuned(self, digest: str, options: Mapping[str, Any]) -> Pair:
        """With `options` for whichever of the two is the file `digest`."""
        low_power = self.low_power.tuned(digest, options) if self.low_power else None
        return replace(self, normal=self.normal.tuned(digest, options), low_power=low_power)

    def artifacts(self) -> frozenset[str]:
        """Digests of every file that belongs to it."""
        both = [one for one in (self.normal, self.low_power) if one]
        return frozenset(name for one in both for name in (one.digest, *one.artifacts))


@dataclass(frozen=True)
class Pointer:
    """What `active.json` says: what applications use, and what a rollback returns to."""

    active: Pair
    before: Pair | None = None

    @property
    def current(self) -> Activation:
        """The variant that applications use now."""
        return self.active.in_use

    @property
    def previous(self) -> Activation | None:
        """The variant that a rollback returns to."""
        return self.before.normal if self.before else None

    def moved_to(self, pair: Pair) -> Pointer:
        """The pointer once `pair` is what applications use, in the mode they are in."""
        now = pair.switched(self.active.mode)
        if pair.normal.digest == self.active.normal.digest:
            return replace(self, active=now)
        return Pointer(now, self.active)

    def moved_back(self) -> Pointer | None:
        """The pointer once the previous is in use again; None when there is none."""
        return Pointer(self.before.switched(self.active.mode)) if self.before else None

    def switched(self, mode: str) -> Pointer:
        """The pointer once applications use the variant for `mode`."""
        return replace(self, active=self.active.switched(mode))

    def artifacts(self) -> frozenset[str]:
        """Digests that eviction must spare."""
        return self.active.artifacts() | (self.before.artifacts() if self.before else frozenset())


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
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
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
        content = _as_json(pointer.active)
        content["previous"] = _as_json(pointer.before) if pointer.before else None
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


def _as_json(pair: Pair) -> dict[str, Any]:
    """What is in use on top, where every application looks; the other one beside it."""
    standby = asdict(pair.standby) if pair.standby else None
    return {**asdict(pair.in_use), "mode": pair.mode, "standby": standby}


def _parse(content: bytes) -> Pointer:
    raw = json.loads(content)
    previous = raw.get("previous")
    return Pointer(_pair(raw), _pair(previous) if previous else None)


def _pair(raw: dict[str, Any]) -> Pair:
    in_use, mode = _activation(raw), raw.get("mode", NORMAL)
    standby = _activation(raw["standby"]) if raw.get("standby") else None
    if standby is None:
        return Pair(in_use)
    if mode not in (NORMAL, LOW_POWER):
        raise ValueError(f"{mode!r} is no power mode")
    return Pair(in_use, standby) if mode == NORMAL else Pair(standby, in_use, LOW_POWER)


def _activation(raw: dict[str, Any]) -> Activation:
    names = Activation.__dataclass_fields__
    known = {key: value for key, value in raw.items() if key in names}
    known["artifacts"] = tuple(known.get("artifacts", ()))
    activation = Activation(**known)
    if not re.fullmatch(r"[0-9a-f]{64}", activation.digest):
        raise ValueError(f"{activation.digest!r} is no digest")
    if not isinstance(activation.path, str) or not isinstance(activation.session_options, dict):
        raise ValueError("its path or its session options are of another type")
    return activation
