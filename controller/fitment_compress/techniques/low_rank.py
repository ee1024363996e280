"""Low-rank factors: a layer becomes two thin ones that together multiply less."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from fitment_compress.errors import TechniqueError
from fitment_compress.techniques.base import Context, Options, Requirements, Technique

if TYPE_CHECKING:
    from onnx import ModelProto

    from fitment_compress.structure.factors import Spectrum
    from fitment_compress.structure.layers import Layer


PAYS_BELOW: Final = 0.75
"""Share of a layer's multiplications that its two factors may have at most: two kernels cost more
than one beside what they multiply."""


class LowRankOptions(Options):
    """How thin, and in which directions.

    Attributes:
        keep: of each layer, the share that stays: of its energy or of its multiplications.
        by: what `keep` is a share of. `energy` gives easy layers low ranks and leaves hard ones
            alone; `macs` treats all alike.
        basis: `responses` keeps the directions in which the layer's outputs vary on calibration
            samples (Zhang et al., 2015); `weights` truncates the singular value decomposition of
            the weights and needs no samples.
        multiple_of: what ranks are a multiple of: kernels compute so many channels at a time.
        refit: fit the second of the two by least squares to what the layer gave before.
    """

    keep: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.95
    by: Literal["energy", "macs"] = "energy"
    basis: Literal["responses", "weights"] = "responses"
    multiple_of: Annotated[int, Field(ge=1, le=64)] = 4
    refit: bool = True


class LowRank(Technique[LowRankOptions]):
    """Splits convolutions and matrix products where two thin layers multiply less than one.

    A k x k convolution becomes a k x k one with few outputs and a 1 x 1 one.
    """

    name = "low-rank"
    summary = "two thin layers in place of one, where they multiply less"
    options = LowRankOptions

    def needs(self, options: LowRankOptions) -> Requirements:
        """Layers with a matrix."""
        return Requirements(any_operator=("Conv", "Gemm", "MatMul"), constant_weights=True)

    def traits(self, options: LowRankOptions) -> tuple[str, ...]:
        """`low-rank`."""
        return ("low-rank",)

    def apply(self, model: ModelProto, options: LowRankOptions, context: Context) -> ModelProto:
        """See `Technique.apply`."""
        from fitment_compress.graph import drop_unused_initializers
        from fitment_compress.structure.factors import split
        from fitment_compress.structure.graphs import (
            constants_as_initializers,
            copy_of,
            node_name,
        )
        from fitment_compress.structure.refit import Target, layers_of, refit

        constants_as_initializers(model)
        original = copy_of(model)
        layers = layers_of(model)
        changed, told = [], []
        for layer, spectrum in zip(layers, _spectra(model, layers, options, context), strict=True):
            rank = choose_rank(layer.features, layer.outputs, spectrum, options)
            if rank is not None:
                split(model, layer, spectrum, rank)
                changed.append(layer.node.output[0])
                told.append(f"{node_name(layer.node)} {layer.outputs} -> {rank}")
        if not changed:
            raise TechniqueError(
                "No layer of this model multiplies less as a product of two. Lower `keep`."
            )
        drop_unused_initializers(model)
        context.findings.notes.append(f"Ranks of the split layers: {', '.join(told)}.")
        if options.refit:
            targets = [Target(layer) for layer in layers_of(model)]
            targets = [entry for entry in targets if entry.layer.node.output[0] in changed]
            refit(model, original, targets, context.calibration, context.seed, context.tell)
        return model


def choose_rank(
    features: int, outputs: int, spectrum: Spectrum, options: LowRankOptions
) -> int | None:
    """The rank of a (features, outputs) layer; None where splitting it would not pay.

    A layer multiplies features x outputs times per position, its two factors
    rank x (features + outputs) times.
    """
    unit = options.multiple_of
    if options.by == "energy":
        rank = -(-spectrum.rank_for(options.keep) // unit) * unit
    else:
        affordable = options.keep * features * outputs / (features + outputs)
        rank = floor(affordable / unit) * unit
    thin = rank * (features + outputs)
    return rank if 0 < thin <= PAYS_BELOW * features * outputs else None


def _spectra(
    model: ModelProto, layers: list[Layer], options: LowRankOptions, context: Context
) -> list[Spectrum]:
    from fitment_compress.structure.factors import response_spectra, weight_spectrum

    if options.basis == "weights":
        return [weight_spectrum(model, layer) for layer in layers]
    if not context.calibration:
        raise TechniqueError(
            "The basis `responses` needs calibration samples. Give some, or use `weights`."
        )
    return response_spectra(model, layers, context.calibration) if layers else []
