"""Inputs for inferences whose outputs nobody looks at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fitment_contract.variant import TensorSpec
from fitment_runtime.golden import golden_feeds
from fitment_runtime.session import Session

if TYPE_CHECKING:
    from fitment_runtime.session import Array


def some_feeds(session: Session, golden: Path | None) -> list[dict[str, Array]]:
    """The golden inputs, else made-up ones.

    Raises:
        GoldenMismatch: the golden file cannot be read.
    """
    if golden is not None:
        return golden_feeds(golden)
    return [{spec.name: _made_up(spec) for spec in session.inputs}]


def _made_up(spec: TensorSpec) -> Array:
    """Standard normal numbers, or zeros where the input is of whole numbers; free axes are 1."""
    import numpy as np

    shape = tuple(1 if axis is None else axis for axis in spec.shape)
    dtype = np.dtype(spec.dtype)
    if dtype.kind != "f":
        return np.zeros(shape, dtype)
    return np.asarray(np.random.default_rng(0).standard_normal(shape)).astype(dtype)
