"""The processor's features that decide which kernels a runtime picks.

One list for the device's facts and for a benchmark's conditions, so that the two never disagree.
"""

from __future__ import annotations

from typing import Final

ISA_FEATURES: Final = frozenset(
    {
        # x86: vector widths, integer dot products, matrix units, half precision
        *("sse4_1", "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx_vnni_int8"),
        *("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
        *("amx_tile", "amx_int8", "amx_bf16"),
        # ARM: the same
        *("neon", "vfpv4", "asimd", "fphp", "asimdhp", "asimddp", "asimdfhm", "i8mm", "bf16"),
        *("sve", "sve2", "svei8mm", "sme"),
    }
)
"""In the kernel's spelling, as `/proc/cpuinfo` lists them."""


def isa_of_cpuinfo(text: str) -> tuple[str, ...]:
    """The features among `ISA_FEATURES` that `/proc/cpuinfo` lists, sorted; empty for none.

    The first core speaks for all: the kernel lists only what every core has.
    """
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return tuple(sorted(ISA_FEATURES.intersection(value.split())))
    return ()
