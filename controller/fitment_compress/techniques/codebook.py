"""Weight sharing: the weights of a layer take a few values, found by k-means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import (
    WEIGHTED_OPERATORS,
    attribute,
    replace_initializer,
    weight_initializers,
)
from fitment_compress.techniques.base import Context, Options, Requirements, Technique

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto, NodeProto

_ITERATIONS: Final = 200


class CodebookOptions(Options):
    """How many values the weights of a layer may take.

    Attributes:
        bits: of convolutions: 2**bits values per layer.
        bits_dense: of matrix products, which bear a coarser codebook (table 6 of the paper).
        bits_grouped: of grouped (depthwise) convolutions, whose few weights are of very different
            size from channel to channel: the shipped image model keeps 92.3 % of its 92.7 %
            accuracy with 6 bits there and 5 elsewhere, 87.9 % with 5 bits everywhere.
    """

    bits: Annotated[int, Field(ge=1, le=8)] = 5
    bits_dense: Annotated[int, Field(ge=1, le=8)] = 4
    bits_grouped: Annotated[int, Field(ge=1, le=8)] = 6

    def bits_of(self, node: NodeProto) -> int:
        """The bits for the weights of a node."""
        if node.op_type in ("Gemm", "MatMul"):
            return self.bits_dense
        return self.bits_grouped if attribute(node, "group", 1) > 1 else self.bits


class Codebook(Technique[CodebookOptions]):
    """A codebook for each layer's weights; biases are left as they are.

    The method is that of Han, Mao and Dally, "Deep Compression" (2016), section 3. Weights that
    are zero stay zero and do not count as a value where they are the majority, so that pruning
    is kept. The file remains one of plain floats, with the size and the speed it had: what shrinks
    is the transfer, in which each weight is a place in its codebook.
    """

    name = "codebook"
    summary = "few distinct weights per layer; only the transfer gets smaller"
    options = CodebookOptions

    def needs(self, options: CodebookOptions) -> Requirements:
        """Weights to share."""
        return Requirements(any_operator=WEIGHTED_OPERATORS, constant_weights=True)

    def traits(self, options: CodebookOptions) -> tuple[str, ...]:
        """`codebook`."""
        return ("codebook",)

    def apply(self, model: ModelProto, options: CodebookOptions, context: Context) -> ModelProto:
        """See `Technique.apply`."""
        weights = weight_initializers(model)
        if not weights:
            raise TechniqueError(
                "No weight of this model is a stored float tensor; quantised weights have their "
                "few values already. Put codebook before the quantising step."
            )
        bits = {
            node.input[1]: options.bits_of(node)
            for node in model.graph.node
            if node.op_type in WEIGHTED_OPERATORS
        }
        for done, (name, values) in enumerate(weights.items()):
            context.tell(done / len(weights), name)
            replace_initializer(model, name, share(values, 1 << bits[name]))
        return model


def share(weight: NDArray[Any], entries: int) -> NDArray[Any]:
    """The weights, each replaced by the nearest of a few values; same shape and dtype.

    Args:
        weight: floats of any shape.
        entries: of the codebook. Zeroes in `weight` stay zero, beside the entries where they are
            more than half of all weights and as one of them where they are fewer.
    """
    import numpy as np

    shared = np.zeros_like(weight)
    others = weight != 0
    count = int(others.sum())
    if 0 < weight.size - count <= weight.size / 2:
        entries -= 1
    if count and entries:
        shared[others] = nearest(weight[others], cluster(weight[others], entries))
    return shared


def cluster(values: NDArray[Any], entries: int) -> NDArray[Any]:
    """At most so many centres, ascending, same dtype: k-means in one dimension (Lloyd).

    It starts from centres that are evenly spread between the extremes. That keeps the few large
    weights, which matter most, better than a start from density or from chance (section 3.2 of
    the paper), and makes the result a function of the values alone. A centre that loses all its
    values goes on in the middle of the worst served ones: without that, a layer with one large
    weight had most of its centres where no weight is.

    Args:
        values: (n,) floats, n >= 1.
        entries: largest number of centres; fewer only where there are fewer distinct values.
    """
    import numpy as np

    ordered = np.sort(values.astype(np.float64))
    distinct = np.unique(ordered)
    if len(distinct) <= entries:
        return distinct.astype(values.dtype)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    squares = np.concatenate([[0.0], np.cumsum(np.square(ordered))])
    centres = np.linspace(ordered[0], ordered[-1], entries)
    for turn in range(_ITERATIONS):
        limits = _limits(ordered, centres)
        limits = limits[np.append(True, np.diff(limits) > 0)]
        counts = np.diff(limits)
        moved = np.diff(sums[limits]) / counts
        if len(moved) < entries and turn < _ITERATIONS // 2:
            errors = np.diff(squares[limits]) - counts * np.square(moved)
            worst = np.argsort(-errors, kind="stable")[: entries - len(moved)]
            moved = np.union1d(moved, (ordered[limits[worst]] + moved[worst]) / 2)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return np.unique(centres.astype(values.dtype))


def _limits(ordered: NDArray[Any], centres: NDArray[Any]) -> NDArray[Any]:
    """Where in the ordered values the share of each centre begins, and the end of the last."""
    import numpy as np

    inner = np.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2)
    return np.concatenate([[0], inner, [len(ordered)]])


def nearest(values: NDArray[Any], centres: NDArray[Any]) -> NDArray[Any]:
    """Of the ascending centres, the one nearest to each value; (n,), the centres' dtype."""
    import numpy as np

    found: NDArray[Any] = centres[np.searchsorted((centres[1:] + centres[:-1]) / 2, values)]
    return found
