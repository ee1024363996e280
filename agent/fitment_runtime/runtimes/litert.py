"""LiteRT (formerly TensorFlow Lite): .tflite files."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from fitment_contract.benchmark import KernelCounts
from fitment_contract.device import RuntimeFacts
from fitment_contract.variant import TensorSpec
from fitment_runtime.affinity import pinned
from fitment_runtime.errors import InferenceFailure, LoadFailure, RuntimeMissing, UnsupportedFormat
from fitment_runtime.session import DEFAULT_OPTIONS, Array, Session, SessionOptions

_MODULES: Final = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
_CPU: Final = "CPU"
_DELEGATES: Final = {"EDGETPU": "libedgetpu.so.1"}
"""Delegates by the name of their provider, and the library that each is in."""
_IDENTIFIER: Final = b"TFL3"
_CONVOLUTIONS: Final = frozenset(
    {"CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "CONV_3D_TRANSPOSE"}
)
_MATMULS: Final = frozenset({"FULLY_CONNECTED", "BATCH_MATMUL"})
_WEIGHT: Final = 1  # the position of the weights among the inputs of all of these
_DELEGATE: Final = "DELEGATE"  # stands for the operators it took over, which are listed as well
_INTEGER_DTYPES: Final = frozenset({"int8", "uint8", "int16"})


class LiteRtSession:
    """A loaded .tflite model."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self._details = {item["name"]: item for item in interpreter.get_input_details()}
        self._shapes = {name: tuple(item["shape"]) for name, item in self._details.items()}
        self._inputs = tuple(_spec(item) for item in interpreter.get_input_details())
        self._outputs = tuple(_spec(item) for item in interpreter.get_output_details())
        self._output_indices = [item["index"] for item in interpreter.get_output_details()]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the model takes."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the model gives."""
        return self._outputs

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """One inference from fresh state: samples are independent of each other."""
        missing = sorted(self._details.keys() - feeds.keys())
        if missing:
            raise InferenceFailure(f"the inputs {', '.join(missing)} are missing")
        interpreter = self._interpreter
        try:
            self._fit(feeds)
            interpreter.reset_all_variables()
            for name, details in self._details.items():
                interpreter.set_tensor(details["index"], feeds[name])
            interpreter.invoke()
            return [interpreter.get_tensor(index) for index in self._output_indices]
        except (ValueError, RuntimeError) as error:
            raise InferenceFailure(f"LiteRT: {_one_line(error)}") from error

    def _fit(self, feeds: Mapping[str, Array]) -> None:
        """Give the graph the shapes of `feeds`, where they are not the current ones already."""
        changed = {
            name: feeds[name].shape
            for name, shape in self._shapes.items()
            if feeds[name].shape != shape
        }
        if not changed:
            return
        for name, shape in changed.items():
            self._interpreter.resize_tensor_input(self._details[name]["index"], shape, strict=True)
        self._interpreter.allocate_tensors()
        self._shapes.update(changed)


class LiteRtRuntime:
    """LiteRT on the CPU, with XNNPACK where the library brings it, or with a delegate."""

    name = "litert"
    formats = ("tflite",)
    has_arena = False

    def prepare(self) -> None:
        """Import LiteRT; see `Runtime.prepare`."""
        _library()

    def load(self, path: Path, options: SessionOptions = DEFAULT_OPTIONS) -> Session:
        """The .tflite model in `path`; see `Runtime.load`."""
        return LiteRtSession(self._open(path, options))

    def kernels(
        self,
        path: Path,
        feeds: Mapping[str, Array],
        options: SessionOptions = DEFAULT_OPTIONS,
    ) -> KernelCounts:
        """The operators of the graph; a convolution or matrix product is integer by its weights.

        Weights that are integers when they reach the operator are multiplied as integers, also
        where activations are quantised while running. Weights that are only stored as integers
        pass a DEQUANTIZE before.

        The interpreter lists its execution plan in an attribute that is not public; a version
        without it gives empty counts.
        """
        interpreter = self._open(path, options)
        LiteRtSession(interpreter).run(feeds)
        listing = getattr(interpreter, "_get_ops_details", None)
        return _count(interpreter, listing()) if listing is not None else KernelCounts()

    def describe(self, version: str) -> RuntimeFacts:
        """What LiteRT can do here; opsets are a notion of ONNX."""
        library = _library()
        delegates = tuple(name for name in _DELEGATES if _has_delegate(library, name))
        return RuntimeFacts(
            name=self.name,
            version=version,
            formats=self.formats,
            providers=(*delegates, _CPU),
        )

    def _open(self, path: Path, options: SessionOptions) -> Any:
        library = _library()
        delegates = [_delegate(library, name) for name in options.providers if name != _CPU]
        _check_identifier(path)
        try:
            with pinned(options.affinity):
                interpreter = library.Interpreter(
                    model_path=str(path),
                    num_threads=options.threads,
                    experimental_delegates=delegates or None,
                )
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise LoadFailure(f"LiteRT: {_one_line(error)}") from error
        return interpreter


def _library() -> Any:
    for name in _MODULES:
        try:
            return import_module(name)
        except ModuleNotFoundError:
            continue
        except ImportError as error:
            raise RuntimeMissing(f"{name} cannot be imported: {error}") from error
    raise RuntimeMissing("LiteRT is not installed: pip install 'fitment[tflite]'")


def _delegate(library: Any, name: str) -> Any:
    """A loaded delegate.

    Raises:
        UnsupportedFormat: its library is not installed, or finds no device.
    """
    if name not in _DELEGATES:
        known = ", ".join((*_DELEGATES, _CPU))
        raise UnsupportedFormat(f"LiteRT has no delegate {name} here; it knows {known}")
    try:
        ctypes.CDLL(_DELEGATES[name])  # first, because LiteRT stumbles over a file that is missing
        return library.load_delegate(_DELEGATES[name])
    except (OSError, ValueError, RuntimeError) as error:
        raise UnsupportedFormat(
            f"the delegate {name} cannot be loaded: {_one_line(error) or 'it finds no device'}"
        ) from error


def _has_delegate(library: Any, name: str) -> bool:
    try:
        _delegate(library, name)
    except UnsupportedFormat:
        return False
    return True


def _check_identifier(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise LoadFailure(f"cannot read the model file: {error.strerror or error}") from error
    if head[4:8] != _IDENTIFIER:
        raise LoadFailure("not a .tflite file: its identifier is missing; build it again")


def _spec(details: Any) -> TensorSpec:
    signature = details.get("shape_signature")
    shape = signature if signature is not None and len(signature) else details["shape"]
    return TensorSpec(
        name=details["name"],
        dtype=details["dtype"].__name__,
        shape=tuple(int(axis) if axis >= 0 else None for axis in shape),
    )


def _count(interpreter: Any, operators: list[Any]) -> KernelCounts:
    dtypes = {
        tensor["index"]: tensor["dtype"].__name__ for tensor in interpreter.get_tensor_details()
    }
    names: Counter[str] = Counter()
    integer: Counter[str] = Counter()
    for operator in operators:
        name = str(operator["op_name"])
        if name == _DELEGATE:
            continue
        names[name] += 1
        weight = operator["inputs"][_WEIGHT] if name in _CONVOLUTIONS | _MATMULS else None
        if weight is not None and dtypes.get(int(weight)) in _INTEGER_DTYPES:
            integer[name] += 1
    return KernelCounts(
        operators=dict(names),
        convolutions=sum(names[name] for name in _CONVOLUTIONS),
        integer_convolutions=sum(integer[name] for name in _CONVOLUTIONS),
        matmuls=sum(names[name] for name in _MATMULS),
        integer_matmuls=sum(integer[name] for name in _MATMULS),
        providers={"CPU": sum(names.values())},
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
