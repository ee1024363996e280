"""An ONNX graph as a PyTorch module whose parameters are the graph's own weights."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper
from torch import Tensor, nn

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import (
    MAIN_DOMAINS,
    constants,
    input_values,
    opset,
    replace_initializer,
)
from fitment_compress.training.constraints import Stored, Weight, WeightMaker, read_weight
from fitment_compress.training.grids import Pairs, read_pairs
from fitment_compress.training.operators import COMPUTING, Operator
from fitment_compress.training.quantised import QuantisedWeight
from fitment_compress.training.reference import tensor
from fitment_compress.training.shaping import SHAPING

OPERATORS: Final[dict[str, Operator]] = {**COMPUTING, **SHAPING}

LOWEST_OPSET: Final = 13
"""Before it, the axes of several operators were given, and meant, otherwise."""

UNKNOWN_FIX: Final = "Use techniques that do not learn, or export the model without it."

LEARNABLE: Final[dict[str, tuple[int, ...]]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm"), (1, 2)),
    **dict.fromkeys(("BatchNormalization", "LayerNormalization"), (1, 2)),
    **dict.fromkeys(("MatMul", "Add", "Mul"), (0, 1)),
    **dict.fromkeys(("Gather", "Transpose", "Reshape", "Identity"), (0,)),
    "PRelu": (1,),
}
"""Inputs that are learnt where they are stored as floating-point numbers. Others (statistics,
limits, scales) describe the graph."""


@dataclass(frozen=True)
class Step:
    """One node, ready to run.

    Attributes:
        index: of the node in the graph.
        kind, name: of the node, for people.
        done: values that no later step reads.
    """

    index: int
    kind: str
    name: str
    run: Operator
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    done: tuple[str, ...]

    def result(self, arguments: Sequence[Any]) -> Any:
        """What the operator makes of its inputs."""
        try:
            return self.run(self.attributes, *arguments)
        except NotImplementedError as error:
            raise TechniqueError(
                f"Training does not know this use of the operator {self.kind} "
                f"(node {self.name}): {error}.",
                UNKNOWN_FIX,
            ) from error


class Network(nn.Module):
    """Runs a graph; what it stores learns, within the constraints that it shows.

    Attributes:
        weights: what learns, by the name of its initializer.
        norms: normalisations behind convolutions, by the index of the node (see `norm`).
    """

    def __init__(
        self,
        model: ModelProto,
        weights: Mapping[str, WeightMaker] | None = None,
        watched: Sequence[str] = (),
    ) -> None:
        """Read a graph.

        Args:
            model: of opset 13 or newer; not changed.
            weights: makes some of the weights, by initializer, in place of `read_weight`.
            watched: values inside the graph that `forward` returns as well.

        Raises:
            TechniqueError: an operator, or the use of one, that training does not know.
        """
        super().__init__()
        if opset(model) < LOWEST_OPSET:
            raise TechniqueError(
                f"Training needs opset {LOWEST_OPSET} or newer; this model has {opset(model)}."
            )
        self.inputs = tuple(value.name for value in input_values(model))
        self.outputs = tuple(value.name for value in model.graph.output)
        self._wanted = tuple(dict.fromkeys((*self.outputs, *watched)))
        known, pairs = constants(model), read_pairs(model)
        self._steps = _steps(model, known, pairs, self._wanted)
        self._build_weights(model, known, pairs, weights or {})
        self._constants = {
            name: tensor(values.copy())
            for name, values in known.items()
            if name not in self.weights
        }
        self.norms = nn.ModuleDict()
        self._frozen: dict[str, Tensor] | None = None

    def _build_weights(
        self,
        model: ModelProto,
        known: Mapping[str, NDArray[Any]],
        pairs: Pairs,
        makers: Mapping[str, WeightMaker],
    ) -> None:
        stored = {tensor.name for tensor in model.graph.initializer}
        self.weights: dict[str, Weight] = {}
        for name, channels in learnable(model).items():
            if name in stored and known[name].dtype.kind == "f" and known[name].size > 1:
                make = makers.get(name, read_weight)
                self.weights[name] = make(Stored(known[name], channels))
        self._values = {name: name for name in self.weights}
        for value, (name, grid) in pairs.weights.items():
            if name not in self.weights:
                self.weights[name] = QuantisedWeight(known[name], grid)
            self._values[value] = name
        self._modules_of_weights = nn.ModuleList(self.weights.values())

    def forward(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs and the watched values, by name.

        Args:
            feeds: one batch per input of the graph.
        """
        values: dict[str, Any] = dict(self._constants)
        values.update(self._frozen if self._frozen is not None else self._computed())
        values.update(feeds)
        for step in self._steps:
            arguments = [values[name] if name else None for name in step.inputs]
            result = step.result(arguments)
            if str(step.index) in self.norms:
                result = self.norms[str(step.index)](result)
            results = result if isinstance(result, tuple) else (result,)
            values.update(zip(step.outputs, results, strict=False))
            for name in step.done:
                del values[name]
        return {name: values[name] for name in self._wanted}

    def _computed(self) -> dict[str, Tensor]:
        tensors = {name: weight() for name, weight in self.weights.items()}
        return {value: tensors[name] for value, name in self._values.items()}

    def freeze(self) -> Network:
        """This network, which learns no more: a teacher."""
        self.eval().requires_grad_(False)
        self._frozen = self._computed()
        return self

    def write(self, model: ModelProto) -> None:
        """Store what was learnt in the graph that was read, under the same names."""
        for name, weight in self.weights.items():
            replace_initializer(model, name, weight.stored())


def learnable(model: ModelProto) -> dict[str, int | None]:
    """Names read where learnt numbers stand, with the axis of their output channels."""
    places: dict[str, int | None] = {}
    for node in model.graph.node:
        for position in LEARNABLE.get(node.op_type, ()):
            if position < len(node.input) and node.input[position]:
                places.setdefault(node.input[position], channel_axis(node, position))
    return places


def channel_axis(node: NodeProto, position: int) -> int | None:
    """Along which axis of this input the output channels of the node are numbered."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm" and position == 1:
        transposed = any(entry.name == "transB" and entry.i for entry in node.attribute)
        return 0 if transposed else 1
    if node.op_type == "MatMul" and position == 1:
        return -1
    return None


def _steps(
    model: ModelProto, known: Container[str], pairs: Pairs, wanted: Sequence[str]
) -> list[Step]:
    nodes = [
        (index, node)
        for index, node in enumerate(model.graph.node)
        if node.output[0] not in known and node.output[0] not in pairs.weights
    ]
    last = {name: index for index, node in nodes for name in node.input if name}
    made = {name for _, node in nodes for name in node.output}
    return [
        Step(
            index=index,
            kind=node.op_type,
            name=node.name or node.output[0],
            run=pairs.operators.get(index) or _operator(node),
            attributes=_attributes(node),
            # A pair's scale and zero point are in its function already.
            inputs=tuple(node.input[:1] if index in pairs.operators else node.input),
            outputs=tuple(node.output),
            done=tuple(
                name
                for name in dict.fromkeys(node.input)
                if name in made and last[name] == index and name not in wanted
            ),
        )
        for index, node in nodes
    ]


def _operator(node: NodeProto) -> Operator:
    found = OPERATORS.get(node.op_type) if node.domain in MAIN_DOMAINS else None
    if found is None:
        raise TechniqueError(
            f"Training does not know the operator {node.op_type}"
            f"{f' of {node.domain}' if node.domain else ''} (node {node.name or node.output[0]}).",
            UNKNOWN_FIX,
        )
    return found


def _attributes(node: NodeProto) -> dict[str, Any]:
    values = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    plain = {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}
    return {**plain, "outputs": len(node.output)}
