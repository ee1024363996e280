"""Gives every axis but the batch a length: quantisers and converters want static shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fitment_compress.errors import SamplesError, SourceError
from fitment_compress.graph import input_values, walk

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

    from fitment_runtime.dataset import Dataset


def refuse_unknown_ranks(model: ModelProto) -> None:
    """Data can fix the length of an axis, not the number of axes.

    Raises:
        SourceError: an input declares no shape at all, or is no tensor.
    """
    for value in input_values(model):
        if not value.type.tensor_type.HasField("shape"):
            raise SourceError(
                f"The input {value.name!r} declares no shape.",
                "Export the model with example inputs, so that the number of axes is known.",
            )


def fix_axes(model: ModelProto, dataset: Dataset) -> list[str]:
    """Fix free axes at the lengths that the data have; the batch axis stays free.

    Args:
        model: changed in place.
        dataset: whose samples every axis fits.

    Returns:
        One sentence per axis that was fixed.

    Raises:
        SamplesError: the data give one named axis two lengths.
    """
    lengths: dict[str, int] = {}
    notes = []
    for value in input_values(model):
        batched = value.name not in dataset.whole
        sample = dataset.inputs[value.name].shape[1:]
        axes = list(value.type.tensor_type.shape.dim)
        for axis, length in zip(axes[1:] if batched else axes, sample, strict=True):
            if axis.HasField("dim_value") and axis.dim_value > 0:
                continue
            label = axis.dim_param or f"axis {axes.index(axis)}"
            if axis.dim_param and lengths.setdefault(axis.dim_param, length) != length:
                raise SamplesError(
                    f"The model's axis {label!r} is {length} long in the data of {value.name!r} "
                    f"and {lengths[axis.dim_param]} long in those of another input.",
                    "Give arrays in which it has one length, or export the model with this axis "
                    "fixed.",
                )
            axis.dim_value = length
            notes.append(f"fixed {label} of input {value.name} at {length}, as in the data")
    for graph in walk(model.graph):
        del graph.value_info[:]
    for value in model.graph.output:
        _name_lengths(value, lengths)
    return notes


def _name_lengths(value: ValueInfoProto, lengths: dict[str, int]) -> None:
    for axis in value.type.tensor_type.shape.dim:
        if axis.dim_param in lengths:
            axis.dim_value = lengths[axis.dim_param]
