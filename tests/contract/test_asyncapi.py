"""The published document says what the code does."""

from __future__ import annotations

import json
from pathlib import Path

from fitment_contract.asyncapi import document

PUBLISHED = Path(__file__).parents[2] / "docs" / "asyncapi.json"


def test_the_published_document_is_generated_from_the_models() -> None:
    """Mend with: python -m fitment_contract.asyncapi > docs/asyncapi.json."""
    assert json.loads(PUBLISHED.read_text()) == json.loads(json.dumps(document()))


def test_every_reference_resolves() -> None:
    whole = document()

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [ref for value in node.values() for ref in references(value)]
        if isinstance(node, list):
            return [ref for value in node for ref in references(value)]
        return []

    for reference in references(whole):
        place: object = whole
        for key in reference.removeprefix("#/").split("/"):
            assert isinstance(place, dict)
            place = place[key]
