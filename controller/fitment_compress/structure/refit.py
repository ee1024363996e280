"""Least squares: a layer whose input changed gives again what it gave before.

After "Channel Pruning for Accelerating Very Deep Neural Networks" (He et al., 2017, section 3.1):
layer by layer, on a few unlabelled samples, from the changed model's activations to the original
model's. No gradients, no labels.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from fitment_compress.graph import constants
from fitment_compress.structure.graphs import read_counts
from fitment_compress.structure.layers import Layer, layer_of
from fitment_compress.structure.probe import Feeds, look, spread

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

    from fitment_compress.techniques.base import Context

SAMPLES: Final = 200
"""Calibration samples that a fit uses at most."""

POSITIONS: Final = 64
"""Positions of a convolution's output that each sample contributes at most."""

MAX_FEATURES: Final = 2304
"""Wider layers are left alone: their normal equations are a square matrix of this size."""

MAX_SPARSE_FEATURES: Final = 1152
"""As `MAX_FEATURES`, for sparse layers: they have equations of their own for each output."""

PENALTIES: Final = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Pulls towards the weights as they were, relative to the mean square of the inputs."""

HOLDOUT: Final = 5
"""Every fifth sample decides how strong the pull is, and whether the fit helps at all."""


@dataclass(frozen=True)
class Target:
    """What a layer should give.

    Attributes:
        layer: of the changed model.
        kept: the positions among the original outputs that the layer still has; None: all.
        sparse: weights that are zero stay zero.
    """

    layer: Layer
    kept: Sequence[int] | None = None
    sparse: bool = False

    @property
    def feasible(self) -> bool:
        """Whether the normal equations are of a size that can be solved."""
        limit = MAX_SPARSE_FEATURES if self.sparse else MAX_FEATURES
        return self.layer.features <= limit


@dataclass
class _Sums:
    """Normal equations of some samples: inputs with inputs, inputs with outputs, outputs alone."""

    inner: Any = 0.0
    outer: Any = 0.0
    energy: float = 0.0

    def add(self, inputs: NDArray[Any], outputs: NDArray[Any]) -> None:
        self.inner = self.inner + inputs.T @ inputs
        self.outer = self.outer + inputs.T @ outputs
        self.energy += float((outputs * outputs).sum())

    def error(self, solution: NDArray[Any]) -> float:
        """The summed squared error of a solution."""
        fitted = float((solution * (self.inner @ solution)).sum())
        return self.energy + fitted - 2.0 * float((solution * self.outer).sum())


def refit(
    model: ModelProto,
    original: ModelProto,
    targets: Sequence[Target],
    feeds: Feeds,
    seed: int = 0,
    tell: Callable[[float, str], None] | None = None,
) -> int:
    """Fit the layers one after the other, each on what the layers before it now give.

    Args:
        model: changed in place; tensors have the names that they have in `original`.
        original: what to come close to.
        targets: in topological order.
        feeds: calibration samples.
        seed: of the choice of positions.
        tell: told how far it is.

    Returns:
        How many layers gained on samples that their fit did not see.
    """
    shared = {name for name, count in read_counts(model).items() if count > 1}
    usable = [
        target
        for target in targets
        if target.feasible and not shared & {target.layer.weight, target.layer.bias}
    ]
    feeds = spread(feeds, SAMPLES)
    if len(feeds) < HOLDOUT or not usable:
        return 0
    wanted = _wanted(original, usable, feeds, seed)
    gained = 0
    for index, target in enumerate(usable):
        if tell is not None:
            tell(index / len(usable), f"fitting {target.layer.node.output[0]}")
        gained += _fit(model, target, wanted[index], feeds, seed + index)
    return gained


def refit_sparse(
    model: ModelProto, original: ModelProto, weights: Collection[str], context: Context
) -> None:
    """Fit layers whose weights were pruned, within the pattern of zeroes that is there now.

    Args:
        model: changed in place.
        original: the model before pruning.
        weights: the initializers that were pruned.
        context: whose calibration samples are fitted to.
    """
    targets = [Target(layer, sparse=True) for layer in layers_of(model) if layer.weight in weights]
    refit(model, original, targets, context.calibration, context.seed, context.tell)


def layers_of(model: ModelProto) -> list[Layer]:
    """The layers of the main graph, in topological order."""
    stored = constants(model)
    found = (layer_of(node, stored) for node in model.graph.node)
    return [layer for layer in found if layer is not None]


def _wanted(
    original: ModelProto, targets: Sequence[Target], feeds: Feeds, seed: int
) -> list[list[NDArray[Any]]]:
    """Per target and feed, what the original gave at the chosen positions."""
    names = [target.layer.node.output[0] for target in targets]
    rows: list[list[NDArray[Any]]] = [[] for _ in targets]
    for turn, seen in enumerate(look(original, names, feeds)):
        for index, target in enumerate(targets):
            value = seen[names[index]]
            width = value.shape[1 if target.layer.node.op_type == "Conv" else -1]
            chosen = _chosen(value.size // width, seed + index, turn)
            found = target.layer.output_rows(value, chosen)
            rows[index].append(found if target.kept is None else found[:, list(target.kept)])
    return rows


def _chosen(count: int, seed: int, turn: int) -> NDArray[Any]:
    import numpy as np

    generator = np.random.default_rng([seed, turn])
    return generator.choice(count, size=min(count, POSITIONS), replace=False)


def _fit(
    model: ModelProto, target: Target, wanted: list[NDArray[Any]], feeds: Feeds, seed: int
) -> bool:
    """Fit one layer; False where that would not help."""
    import numpy as np

    layer, stored = target.layer, constants(model)
    start = layer.matrix(stored[layer.weight]).astype(np.float64)
    if layer.bias:
        start = np.vstack([start, stored[layer.bias].astype(np.float64)])
    fitting, deciding = _Sums(), _Sums()
    source = layer.node.input[0]
    output = layer.node.output[0]
    for turn, seen in enumerate(look(model, [source, output], feeds)):
        chosen = _chosen(layer.positions(seen[output]), seed, turn)
        rows = layer.input_rows(seen[source], chosen).astype(np.float64)
        if layer.bias:
            rows = np.hstack([rows, np.ones((len(rows), 1))])
        sums = deciding if turn % HOLDOUT == HOLDOUT - 1 else fitting
        sums.add(rows, wanted[turn].astype(np.float64))
    solve = partial(_solve, start=start)
    if target.sparse:
        free = start != 0
        free[layer.features :] = True  # a bias of zero is no pruned weight
        solve = partial(_solve_sparse, start=start, free=free)
    solutions = [solve(fitting, penalty=penalty) for penalty in PENALTIES]
    errors = [deciding.error(solution) for solution in solutions]
    best = int(np.argmin(errors))
    if not errors[best] < deciding.error(start):  # also where a sample gave no numbers
        return False
    whole = _Sums(fitting.inner + deciding.inner, fitting.outer + deciding.outer)
    solution = solve(whole, penalty=PENALTIES[best])
    layer.store(model, solution[: layer.features], solution[-1] if layer.bias else None)
    return True


def _solve(sums: _Sums, start: NDArray[Any], penalty: float) -> NDArray[Any]:
    """Ridge regression towards `start`."""
    import numpy as np

    matrix = sums.inner + _pull(sums, penalty) * np.eye(len(start))
    solution: NDArray[Any] = start + np.linalg.solve(matrix, sums.outer - sums.inner @ start)
    return solution


def _solve_sparse(
    sums: _Sums, start: NDArray[Any], penalty: float, free: NDArray[Any]
) -> NDArray[Any]:
    """The same where only the numbers that are `free` may change, for each output alone."""
    import numpy as np

    solution = start.copy()
    missing = sums.outer - sums.inner @ start
    for output in range(start.shape[1]):
        chosen = np.flatnonzero(free[:, output])
        matrix = sums.inner[np.ix_(chosen, chosen)] + _pull(sums, penalty) * np.eye(len(chosen))
        solution[chosen, output] += np.linalg.solve(matrix, missing[chosen, output])
    return solution


def _pull(sums: _Sums, penalty: float) -> float:
    import numpy as np

    return penalty * max(float(np.trace(sums.inner)) / len(sums.inner), 1e-12)
