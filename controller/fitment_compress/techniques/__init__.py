"""The known techniques: one file, one class each.

Installed packages add their own under the entry-point group `fitment.techniques`.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any, Final

from fitment_compress.techniques.base import Technique
from fitment_compress.techniques.bias_correct import BiasCorrect
from fitment_compress.techniques.channel_prune import ChannelPrune
from fitment_compress.techniques.codebook import Codebook
from fitment_compress.techniques.depthwise_separable import DepthwiseSeparable
from fitment_compress.techniques.distil import Distil
from fitment_compress.techniques.drop_blocks import DropBlocks
from fitment_compress.techniques.equalise import Equalise
from fitment_compress.techniques.fp16 import Fp16
from fitment_compress.techniques.int4_weights import Int4Weights
from fitment_compress.techniques.int8_dynamic import Int8Dynamic
from fitment_compress.techniques.int8_mixed import Int8Mixed
from fitment_compress.techniques.int8_static import Int8Static
from fitment_compress.techniques.low_rank import LowRank
from fitment_compress.techniques.magnitude_prune import MagnitudePrune
from fitment_compress.techniques.nm_prune import NMPrune
from fitment_compress.techniques.recover import Recover
from fitment_compress.techniques.ternary_weights import TernaryWeights
from fitment_compress.techniques.tflite import ToTflite
from fitment_compress.techniques.tflite_quantise import TfliteQuantise

ENTRY_POINT_GROUP: Final = "fitment.techniques"
"""Each entry point names a subclass of `Technique` that takes no constructor arguments."""

AnyTechnique = Technique[Any]
BUILT_IN: Final[tuple[type[AnyTechnique], ...]] = (
    BiasCorrect,
    ChannelPrune,
    DepthwiseSeparable,
    Codebook,
    Distil,
    DropBlocks,
    Equalise,
    Fp16,
    Int8Mixed,
    Int8Static,
    Int8Dynamic,
    Int4Weights,
    LowRank,
    MagnitudePrune,
    NMPrune,
    Recover,
    TfliteQuantise,
    TernaryWeights,
    ToTflite,
)


@cache
def known_techniques() -> dict[str, AnyTechnique]:
    """Every technique by name; a plug-in may not take the name of a built-in one."""
    plugged = [point.load() for point in entry_points(group=ENTRY_POINT_GROUP)]
    return {kind.name: kind() for kind in (*plugged, *BUILT_IN)}
