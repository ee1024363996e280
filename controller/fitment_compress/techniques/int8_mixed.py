"""Mixed precision: as many layers in 8 bits as a budget of changed decisions allows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from fitment_compress.errors import TechniqueError
from fitment_compress.quantisation.bias import nearer_if_possible
from fitment_compress.quantisation.calibration import Feeds, Ranges, spread
from fitment_compress.quantisation.placement import find_layers, name_nodes
from fitment_compress.quantisation.qdq import calibrate_layers, quantise
from fitment_compress.quantisation.sensitivity import (
    Outputs,
    changed_decisions,
    has_decisions,
    noise_ratio,
    run_all,
)
from fitment_compress.techniques.base import Context, Requirements, Technique
from fitment_compress.techniques.int8_static import Int8StaticOptions
from fitment_contract.portfolio import LayerSensitivity

if TYPE_CHECKING:
    from onnx import ModelProto

PROBED_SAMPLES: Final = 64
"""Samples on which each layer is tried alone."""

JUDGED_SAMPLES: Final = 1000
"""Samples on which a set of layers is held against the budget."""

SECOND_CHANCES: Final = 16
"""Layers beyond the cut that are tried once more, each on top of those that were accepted."""


class Int8MixedOptions(Int8StaticOptions):
    """How to quantise, and how much it may change.

    Attributes:
        budget: the most that may change: of `decisions` the share of samples whose largest output
            is another one than before this step, of `outputs` the power of the change over the
            power of the outputs.
        measure: decisions for classifiers, outputs for everything else; also taken where the first
            output is a single number, which decides nothing.
    """

    budget: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.005
    measure: Literal["decisions", "outputs"] = "decisions"


class Int8Mixed(Technique[Int8MixedOptions]):
    """8 bits where they do no harm, floating point where they do, found without labels.

    Each layer is quantised alone; the noise that it adds to the model's outputs is its
    sensitivity. The largest set of the least sensitive layers that keeps to the budget is found by
    bisection, which takes the change to grow with the set; then single layers beyond it get a
    second chance. Calibration samples judge, so the budget holds for them, not for every sample.
    """

    name = "int8-mixed"
    summary = "8 bits for as many layers as a budget of changed decisions allows"
    options = Int8MixedOptions

    def needs(self, options: Int8MixedOptions) -> Requirements:
        """The operators that are to become integer."""
        operators = () if options.operators == "all" else options.operators
        return Requirements(opset=13, any_operator=operators)

    def traits(self, options: Int8MixedOptions) -> tuple[str, ...]:
        """Flavour and granularity, and `mixed-precision`."""
        return (*options.flavour(), "mixed-precision")

    def apply(self, model: ModelProto, options: Int8MixedOptions, context: Context) -> ModelProto:
        """See `Technique.apply`."""
        name_nodes(model)
        layers = find_layers(model, options)
        ranges = calibrate_layers(model, layers, context.calibration, options)
        trial = _Trial(model, ranges, options, context.calibration)
        noises = {}
        for index, layer in enumerate(layers):
            context.tell(0.8 * index / len(layers), f"trying {layer} alone in 8 bits")
            noises[layer] = trial.noise(layer)
        context.tell(0.8, "looking for the largest set of layers within the budget")
        chosen = largest_set(noises, trial)
        types = {node.name: node.op_type for node in model.graph.node}
        context.findings.sensitivity.extend(
            LayerSensitivity(
                layer=layer,
                operator=types[layer],
                noise_ratio=noises[layer],
                spared=layer not in chosen,
            )
            for layer in layers
        )
        context.findings.notes.append(_told(layers, chosen, trial, options))
        quantised = quantise(model, chosen, ranges, options)
        if options.correct_bias:
            quantised, note = nearer_if_possible(quantised, model, context.calibration)
            context.findings.notes.append(note)
        return quantised


@dataclass
class _Trial:
    """Quantises sets of layers and holds each against the model as it was."""

    model: ModelProto
    ranges: Ranges
    options: Int8MixedOptions
    feeds: Feeds
    _changes: dict[frozenset[str], float] = field(default_factory=dict)
    _judged: Outputs = field(default_factory=list)
    _probed: Outputs = field(default_factory=list)

    def __post_init__(self) -> None:
        self._judged = run_all(self.model, spread(self.feeds, JUDGED_SAMPLES))
        self._probed = run_all(self.model, spread(self.feeds, PROBED_SAMPLES))

    @property
    def decides(self) -> bool:
        """Whether the budget limits changed decisions, or else changed outputs."""
        return self.options.measure == "decisions" and has_decisions(self._judged)

    def noise(self, layer: str) -> float:
        """The noise ratio with this layer alone in 8 bits."""
        quantised = quantise(self.model, [layer], self.ranges, self.options)
        return noise_ratio(self._probed, run_all(quantised, spread(self.feeds, PROBED_SAMPLES)))

    def change(self, layers: Collection[str]) -> float:
        """What the budget limits, with these layers in 8 bits."""
        key = frozenset(layers)
        if key not in self._changes:
            quantised = quantise(self.model, layers, self.ranges, self.options)
            outputs = run_all(quantised, spread(self.feeds, JUDGED_SAMPLES))
            compare = changed_decisions if self.decides else noise_ratio
            self._changes[key] = compare(self._judged, outputs)
        return self._changes[key]

    def fits(self, layers: Collection[str]) -> bool:
        """Whether these layers keep to the budget."""
        return self.change(layers) <= self.options.budget


def largest_set(noises: Mapping[str, float], trial: _Trial) -> set[str]:
    """The layers that can become integer together.

    Args:
        noises: how sensitive each layer is.
        trial: says which sets fit.

    Raises:
        TechniqueError: not one layer fits.
    """
    ordered = sorted(noises, key=noises.__getitem__)
    if trial.fits(ordered):
        return set(ordered)
    fitting, failing = 0, len(ordered)
    while failing - fitting > 1:
        middle = (fitting + failing) // 2
        if trial.fits(ordered[:middle]):
            fitting = middle
        else:
            failing = middle
    chosen = set(ordered[:fitting])
    for layer in ordered[fitting : fitting + SECOND_CHANCES]:
        if trial.fits({*chosen, layer}):
            chosen.add(layer)
    if not chosen:
        raise TechniqueError(
            "Not one layer can be quantised within the budget. Allow a larger one, or equalise "
            "before."
        )
    return chosen


def _told(layers: list[str], chosen: set[str], trial: _Trial, options: Int8MixedOptions) -> str:
    spared = [layer for layer in layers if layer not in chosen]
    unit = "decisions" if trial.decides else "the outputs' power"
    kept = f"{trial.change(chosen):.2%} of {unit} changed, {options.budget:.2%} allowed"
    if not spared:
        return f"All {len(layers)} layers are in 8 bits: {kept}."
    return (
        f"{len(spared)} of {len(layers)} layers stay float ({', '.join(spared)}): {kept}; with all "
        f"layers in 8 bits it would be {trial.change(layers):.2%}."
    )
