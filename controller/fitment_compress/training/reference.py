"""A graph as the runtime runs it: the teacher, and what a student's file is compared with.

The runtime's forward pass takes a quarter of PyTorch's time, and knows every operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import ModelProto, ValueInfoProto
from torch import Tensor

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import input_values
from fitment_compress.training.constraints import to_array

FREE_FIX: Final = "Export it with a free batch axis, or use techniques that do not learn."


class Reference:
    """A frozen model that takes and gives PyTorch's tensors.

    Attributes:
        outputs: the names of the model's own outputs.
    """

    def __init__(self, model: ModelProto, watched: Sequence[str] = ()) -> None:
        """Load a model on one thread.

        Args:
            model: not changed.
            watched: values inside the graph that are returned as well.

        Raises:
            TechniqueError: the runtime refuses it.
        """
        free = ModelProto()
        free.CopyFrom(model)
        self.outputs = tuple(value.name for value in model.graph.output)
        for value in (*input_values(free), *free.graph.output):
            shape = value.type.tensor_type.shape
            if shape.dim:
                shape.dim[0].dim_param = "samples"
        extra = [name for name in dict.fromkeys(watched) if name not in self.outputs]
        free.graph.output.extend(ValueInfoProto(name=name) for name in extra)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(
                free.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have no common class
            raise TechniqueError(f"The runtime refuses this model: {error}", FREE_FIX) from error
        self._names = [*self.outputs, *extra]
        self._types = {value.name: value.type for value in self._session.get_inputs()}

    def __call__(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs and the watched values, by name, numbers as float32 or int64.

        Raises:
            TechniqueError: the graph does not take this many samples at once, or not these.
        """
        arrays = {name: _fed(values, self._types[name]) for name, values in feeds.items()}
        try:
            found = self._session.run(self._names, arrays)
        except Exception as error:  # onnxruntime's errors have no common class
            words = " ".join(str(error).split())
            raise TechniqueError(
                f"This model takes no batches, or not these samples: {words}.",
                f"Correct the samples if it is about their values. {FREE_FIX}",
            ) from error
        return {name: tensor(values) for name, values in zip(self._names, found, strict=True)}


def tensor(values: NDArray[Any]) -> Tensor:
    """Floating-point numbers as float32, whole numbers as int64: all that operators ask for."""
    kind = {"f": np.float32, "i": np.int64, "u": np.int64}.get(values.dtype.kind, values.dtype)
    return torch.from_numpy(np.asarray(values, kind, order="C"))


def _fed(values: Tensor, kind: str) -> NDArray[Any]:
    """An array of the type that the input declares, such as `tensor(float16)`."""
    plain = kind.removeprefix("tensor(").removesuffix(")")
    return to_array(values, {"float": "float32", "double": "float64"}.get(plain, plain))
