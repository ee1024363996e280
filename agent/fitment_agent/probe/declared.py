"""Facts declared in a JSON file, which replace the probe and make the device a simulated one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from fitment_agent.conditions import Surroundings
from fitment_agent.errors import FactsFileError
from fitment_agent.probe.reading import Reading
from fitment_agent.settings import Settings
from fitment_contract.device import DeviceFacts

_SHAPE = "Write the shape that `fitment-agent probe -o json` prints under `facts`."


class DeclaredProbe:
    """Facts from a file, which is read again each time: whoever simulates may change it.

    Args:
        path: of the facts file.
        settings: region and labels, which win over the file's when set.

    Raises:
        FactsFileError: the file is wrong at the start; later a wrong file keeps the last good one.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._settings = settings
        self._last = read_declared(path)

    @property
    def declares_runtimes(self) -> bool:
        """Whether the file says something about runtimes."""
        return declares_runtimes(self._last)

    def read(self) -> Reading:
        """The declared facts, marked as simulated, and who declared each."""
        declared, settings = self._declared(), self._settings
        facts = declared.model_copy(
            update={
                "region": settings.region or declared.region,
                "labels": {**declared.labels, **settings.labels},
            }
        )
        paths = _paths(declared.model_dump(exclude_unset=True))
        sources = dict.fromkeys(paths, f"declared in {self._path}")
        sources |= {f"labels.{name}": "settings" for name in settings.labels}
        if settings.region:
            sources["region"] = "settings"
        return Reading(facts, sources)

    def facts(self) -> DeviceFacts:
        """The declared facts, marked as simulated."""
        return self.read().facts

    def surroundings(self) -> Surroundings:
        """The declared values of what would change on a real device."""
        facts = self._declared()
        return Surroundings(
            source=facts.power.source,
            charge_ratio=facts.power.charge_ratio,
            charging=facts.power.charging,
            temperature_celsius=facts.thermal.temperature_celsius,
            throttled=facts.thermal.throttled,
            link_kind=facts.link.kind,
            metered=facts.link.metered,
            memory_total_bytes=facts.hardware.memory_bytes,
            storage_free_bytes=facts.storage.free_bytes,
            storage_total_bytes=facts.storage.total_bytes,
        )

    def _declared(self) -> DeviceFacts:
        try:
            self._last = read_declared(self._path)
        except FactsFileError:
            return self._last
        return self._last


def read_declared(path: Path) -> DeviceFacts:
    """The facts in `path`, marked as simulated. `runtimes` may be left out.

    Raises:
        FactsFileError: unreadable, not JSON, an unknown key, or a value that cannot be.
    """
    try:
        raw = json.loads(path.read_bytes())
    except OSError as error:
        raise FactsFileError(
            f"{path} cannot be read: {error.strerror}.", "Name a readable file with --facts."
        ) from None
    except ValueError as error:
        raise FactsFileError(f"{path} is not JSON: {error}.", _SHAPE) from None
    if not isinstance(raw, dict):
        raise FactsFileError(f"{path} holds no JSON object.", _SHAPE)
    unknown = _unknown_keys(DeviceFacts, raw)
    if unknown:
        raise FactsFileError(f"{path}: no fact is called {unknown[0]!r}.", _SHAPE)
    try:
        facts = DeviceFacts.model_validate({**raw, "simulated": True})
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise FactsFileError(f"{path}: {where}: {fault['msg']}.", _SHAPE) from None
    return facts


def declares_runtimes(facts: DeviceFacts) -> bool:
    """Whether the file said something about runtimes, if only that there are none."""
    return "runtimes" in facts.model_fields_set


def _paths(declared: dict[str, Any], path: str = "") -> Iterator[str]:
    """Dotted names of what somebody declared, which leaves out what has its default value."""
    for key, value in declared.items():
        if isinstance(value, dict):
            yield from _paths(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def _unknown_keys(record: type[BaseModel], raw: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of keys that `record` has no field for; records ignore them otherwise."""
    unknown = []
    for key, value in raw.items():
        field = record.model_fields.get(key)
        if field is None:
            unknown.append(f"{prefix}{key}")
            continue
        inner = _inner_record(field.annotation)
        if inner is not None:
            items = value if isinstance(value, list) else [value]
            for item in (item for item in items if isinstance(item, dict)):
                unknown += _unknown_keys(inner, item, f"{prefix}{key}.")
    return unknown


def _inner_record(annotation: Any) -> type[BaseModel] | None:
    candidates = (annotation, *get_args(annotation))
    return next(
        (one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)), None
    )
