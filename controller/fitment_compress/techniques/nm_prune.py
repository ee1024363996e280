"""N:M sparsity: of every M consecutive weights along the inputs, N stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import attribute, replace_initializer, weight_initializers
from fitment_compress.techniques.base import Context, Options, Requirements, Technique

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

_OPERATORS = ("Conv", "Gemm", "MatMul")


class NMPruneOptions(Options):
    """The pattern.

    Attributes:
        n: how many weights of each group stay, those of the largest magnitude.
        m: how many weights make a group.
        refit: fit the weights that stay by least squares on calibration samples.
    """

    n: Annotated[int, Field(ge=1, le=15)] = 2
    m: Annotated[int, Field(ge=2, le=16)] = 4
    refit: bool = True

    @model_validator(mode="after")
    def _fewer_than_all(self) -> NMPruneOptions:
        if self.n >= self.m:
            raise ValueError("n is how many of m stay, and less than m")
        return self


class NMPrune(Technique[NMPruneOptions]):
    """Zeroes in a pattern that sparse tensor cores know: 2 of 4 along the input channels.

    "Accelerating Sparse Deep Neural Networks" (Mishra et al., 2021). Only TensorRT on Ampere and
    later GPUs turns 2:4 into time, and little of it end to end; CPUs compute the zeroes, and the
    file keeps its size. Everywhere else what shrinks is the transfer, because zeroes compress,
    and magnitude-prune does that at less loss.

    Layers whose inputs do not divide into groups stay dense: depthwise convolutions, first layers.
    """

    name = "nm-prune"
    summary = "zeroes in the 2:4 pattern of sparse tensor cores; no gain on CPUs"
    options = NMPruneOptions

    def needs(self, options: NMPruneOptions) -> Requirements:
        """Weights to prune."""
        return Requirements(any_operator=_OPERATORS, constant_weights=True)

    def traits(self, options: NMPruneOptions) -> tuple[str, ...]:
        """`pruned` and the pattern: `n2m4` is what papers write 2:4."""
        return ("pruned", f"n{options.n}m{options.m}")

    def apply(self, model: ModelProto, options: NMPruneOptions, context: Context) -> ModelProto:
        """See `Technique.apply`."""
        import numpy as np

        from fitment_compress.structure.graphs import copy_of
        from fitment_compress.structure.refit import refit_sparse

        stored = weight_initializers(model)
        original = copy_of(model)
        weights = {name: values for name, values in stored.items() if values.ndim > 1}
        axes = {
            node.input[1]: _input_axis(node)
            for node in model.graph.node
            if node.op_type in _OPERATORS and node.input[1] in weights
        }
        pruned = [name for name, axis in axes.items() if not weights[name].shape[axis] % options.m]
        if not pruned:
            raise TechniqueError(
                f"No layer of this model has inputs in groups of {options.m}. Choose another `m`, "
                "or magnitude-prune, which needs no groups."
            )
        for name in pruned:
            values = weights[name]
            kept = pattern(values, axes[name], options.n, options.m)
            # A product with the mask would leave zeroes of both signs, which compress worse.
            replace_initializer(model, name, np.where(kept, values, 0).astype(values.dtype))
        context.findings.notes.append(f"{len(pruned)} of {len(axes)} weights have the pattern.")
        if options.refit:
            refit_sparse(model, original, pruned, context)
        return model


def pattern(weight: NDArray[Any], axis: int, n: int, m: int) -> NDArray[Any]:
    """Which weights stay: of each `m` consecutive ones along `axis` the `n` largest.

    Args:
        weight: any shape; the length of `axis` is a multiple of `m`.
        axis: along which the layer sums.
        n: less than `m`.
        m: size of a group.

    Returns:
        Booleans in the shape of the weight; of equal magnitudes the first stay.
    """
    import numpy as np

    last = np.moveaxis(np.abs(weight), axis, -1)
    groups = last.reshape(-1, m)
    order = np.argsort(-groups, axis=1, kind="stable")
    kept = np.zeros(groups.shape, dtype=bool)
    np.put_along_axis(kept, order[:, :n], True, axis=1)
    back: NDArray[Any] = np.moveaxis(kept.reshape(last.shape), -1, axis)
    return back


def _input_axis(node: NodeProto) -> int:
    if node.op_type == "Gemm":
        return 1 if attribute(node, "transB", 0) else 0
    return 1 if node.op_type == "Conv" else -2
