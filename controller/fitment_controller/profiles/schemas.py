"""JSON Schemas of profile files, draft 7, which is what editors' YAML support understands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fitment_controller.profiles.kinds import KINDS, DeviceClass, Objective, Region

SCHEMA_FILES = {
    "DeviceClass": "device-class.json",
    "Region": "region.json",
    "Objective": "objective.json",
}


def schema(model: type[DeviceClass] | type[Region] | type[Objective]) -> dict[str, Any]:
    """The schema of one kind of profile."""
    made = model.model_json_schema(ref_template="#/definitions/{model}")
    definitions = made.pop("$defs", {})
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **made,
        "definitions": definitions,
    }


def write_schemas(directory: Path) -> None:
    """Write the schema of every kind, as `profiles/schemas/` holds them."""
    directory.mkdir(parents=True, exist_ok=True)
    for kind, file_name in SCHEMA_FILES.items():
        text = json.dumps(schema(KINDS[kind]), indent=2) + "\n"
        (directory / file_name).write_text(text, encoding="utf-8")


def keys_at(
    model: type[DeviceClass] | type[Region] | type[Objective], location: Sequence[str | int]
) -> tuple[str, ...]:
    """The keys that a mapping at `location` may have."""
    whole = schema(model)
    node: dict[str, Any] = whole
    for step in location:
        node = _resolve(whole, node)
        node = (
            node.get("items", {})
            if isinstance(step, int)
            else node.get("properties", {}).get(step, {})
        )
    return tuple(_resolve(whole, node).get("properties", {}))


def _resolve(whole: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Follow references and optional parts down to a mapping's or a list's own schema."""
    for option in node.get("anyOf", ()):
        if option.get("type") != "null":
            return _resolve(whole, option)
    reference = node.get("$ref")
    if reference is None:
        return node
    definition: dict[str, Any] = whole["definitions"][reference.rsplit("/", 1)[-1]]
    return _resolve(whole, definition)
