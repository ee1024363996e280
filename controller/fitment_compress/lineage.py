"""Names for what a model is after the first steps of a recipe.

Recipes that begin alike share their beginnings: together they are a tree whose root is the
cleaned source. A node of it, a *stage*, is named by all that decides its content, so that it is
built once in a run, and found again by the next one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from fitment_contract.base import sha256_hex
from fitment_contract.variant import RecipeStep

_DECISIVE: Final = ("litert-quantizer", "numpy", "onnx", "onnxruntime", "onnxslim", "torch")
"""Distributions whose version may change what a technique makes of a model."""

_LENGTH: Final = 20
"""Hex digits of a key: collisions within one workspace are out of the question."""


def origin(*contents: str) -> str:
    """The key of everything that a run starts from.

    Args:
        contents: digests of files and texts of options, in a fixed order.
    """
    versions = (f"{name}={_version(name)}" for name in _DECISIVE)
    return _digest([*contents, *versions, _code()])


def stage_keys(seed: int, steps: Sequence[RecipeStep]) -> tuple[str, ...]:
    """The key of the source and of the stage after each step, within one workspace."""
    keys = [_digest([str(seed)])]
    for step in steps:
        keys.append(_digest([keys[-1], step.model_dump_json()]))
    return tuple(keys)


def _digest(parts: Sequence[str]) -> str:
    return sha256_hex(json.dumps(list(parts)).encode())[:_LENGTH]


@cache
def _code() -> str:
    """Of this package's own code: between two releases, its version says too little."""
    folder = Path(__file__).parent
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.py"))
    return _digest([f"{path} {sha256_hex((folder / path).read_bytes())}" for path in files])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
