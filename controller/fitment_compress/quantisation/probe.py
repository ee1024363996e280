"""Looks at tensors inside a model while it runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from fitment_compress.graph import walk

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto


class Probe:
    """A model whose outputs are any of its tensors; what they do not need is not run.

    The graph runs as it is written, without fusions, in which inner tensors vanish.

    Attributes:
        names: the tensors, in the order asked for.
        types: their element types as numbers of `onnx.TensorProto`, by name.
    """

    def __init__(self, model: ModelProto, names: Collection[str]) -> None:
        import onnxruntime
        from onnx import ModelProto, ValueInfoProto, helper

        self.names = list(dict.fromkeys(names))
        pruned = ModelProto()
        pruned.CopyFrom(model)
        del pruned.graph.output[:]
        pruned.graph.output.extend(ValueInfoProto(name=name) for name in self.names)
        _keep_needed_nodes(pruned)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            pruned.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [value.name for value in self._session.get_inputs()]
        self.types = {
            value.name: helper.np_dtype_to_tensor_dtype(_dtype(value.type))
            for value in self._session.get_outputs()
            if value.type in _DTYPES
        }

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The tensors' values for one sample.

        Args:
            feeds: one array per model input; those that the tensors do not need are ignored.
        """
        given = {name: feeds[name] for name in self._inputs}
        return dict(zip(self.names, self._session.run(self.names, given), strict=True))


_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


def _dtype(name: str) -> Any:
    import numpy as np

    return np.dtype(_DTYPES[name])


def _keep_needed_nodes(model: ModelProto) -> None:
    """Drop the nodes of the main graph on which no output depends."""
    needed = {value.name for value in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if not needed.isdisjoint(node.output):
            kept.append(node)
            needed.update(node.input)
            for entry in node.attribute:
                for body in (entry.g, *entry.graphs):
                    for graph in walk(body):
                        needed.update(name for inner in graph.node for name in inner.input)
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
