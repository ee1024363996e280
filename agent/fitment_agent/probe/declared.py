"""Facts declared in a JSON file, which replace the probe and make the device a simulated one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from fitment_agent.errors import FactsFileError
from fitment_contract.device import DeviceFacts

_SHAPE = "Write the shape that `fitment-agent probe -o json` prints under `facts`."


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
