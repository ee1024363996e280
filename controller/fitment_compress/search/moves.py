"""What the search may do to a model: per slot, the techniques and how strongly they act.

A table and nothing else. Techniques that are not installed, and options that a technique does not
have, fall away when a space is made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Dimension:
    """One thing that can be chosen about a technique.

    Attributes:
        name: of the option; where not `ordered`, it may stand for several that belong together.
        choices: options and their values; where `ordered`, the mildest first.
        ordered: later choices are harsher: they cost score and save bytes or time.
    """

    name: str
    choices: tuple[Mapping[str, Any], ...]
    ordered: bool = True


@dataclass(frozen=True)
class Move:
    """A technique in its slot, with what can be chosen about it."""

    technique: str
    dimensions: tuple[Dimension, ...] = ()


def _harsher(option: str, *values: Any) -> Dimension:
    return Dimension(option, tuple({option: value} for value in values))


def _either(option: str, *values: Any) -> Dimension:
    return Dimension(option, tuple({option: value} for value in values), ordered=False)


STRUCTURE: Final = (
    Move(
        "channel-prune",
        (
            _harsher("ratio", 0.125, 0.25, 0.375, 0.5, 0.625, 0.75),
            _either("scope", "per-group", "global"),
        ),
    ),
    Move(
        "distil",
        (
            _harsher("width", 0.75, 0.5, 0.375, 0.25, 0.1875),
            _harsher("depth", 1.0, 0.7, 0.4),
            _either("depthwise", False, True),
        ),
    ),
    Move(
        "low-rank", (_harsher("keep", 0.98, 0.95, 0.9, 0.8, 0.7), _either("by", "energy", "macs"))
    ),
    Move("depthwise-separable", (_harsher("multiplier", 3, 2, 1),)),
    Move("drop-blocks", (_harsher("share", 0.2, 0.4, 0.6),)),
)
"""Fewer or cheaper operations."""

SPARSITY: Final = (
    Move(
        "magnitude-prune",
        (
            _harsher("sparsity", 0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95),
            _either("scope", "adaptive", "global"),
        ),
    ),
    Move("nm-prune", (_harsher("n", 3, 2, 1),)),
)
"""Zeroes."""

SHARING: Final = (
    Move("codebook", (_harsher("bits", 6, 5, 4, 3, 2), _harsher("bits_dense", 5, 4, 3, 2))),
    Move("ternary-weights", (_either("levels", "ternary", "binary"),)),
)
"""Few distinct values."""

QUANTISATION: Final = (
    Move(
        "int8-static",
        (
            Dimension(
                "flavour",
                (
                    {"activation": "u8", "weight": "s8"},
                    {"activation": "s8", "weight": "s8"},
                    {"activation": "u8", "weight": "u8"},
                ),
                ordered=False,
            ),
            _either("per_channel", True, False),
            _either("calibration", "minmax", "percentile", "entropy"),
            _either("stem", "float", "integer"),
        ),
    ),
    Move("int8-mixed", (_harsher("budget", 0.001, 0.005, 0.02),)),
    Move("int8-dynamic", (_either("per_channel", False, True),)),
    Move("int4-weights", (_harsher("block_size", 16, 32, 64, 128),)),
    Move("fp16"),
)
"""Fewer bits; nothing that changes float weights comes after it."""

RECOVERY: Final = "recover"
BEFORE_INTEGERS: Final = "equalise"
AFTER_INTEGERS: Final = "bias-correct"

WITH_PAIRS: Final = frozenset({"int8-static", "int8-mixed"})
"""Quantisers that write QuantizeLinear/DequantizeLinear pairs, which can be equalised before,
corrected after and trained through; the others leave operators that nothing here can train."""

QUANTISERS: Final = frozenset(move.technique for move in QUANTISATION)

ALL_MOVES: Final = (*STRUCTURE, *SPARSITY, *SHARING, *QUANTISATION)
