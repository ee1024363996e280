"""onnxruntime: ONNX files."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fitment_contract.benchmark import KernelCounts
from fitment_contract.device import RuntimeFacts
from fitment_contract.variant import TensorSpec
from fitment_runtime.affinity import pinned
from fitment_runtime.errors import (
    InferenceFailure,
    LoadFailure,
    MemoryExceeded,
    RuntimeFailure,
    RuntimeMissing,
    UnsupportedFormat,
)
from fitment_runtime.runtimes.onnx_wire import identity_model, refuse_external_data
from fitment_runtime.session import DEFAULT_OPTIONS, Array, Session, SessionOptions

_CPU: Final = "CPUExecutionProvider"
_ELSEWHERE: Final = frozenset({"AzureExecutionProvider"})
"""Providers that every build lists and that run nothing on this machine."""
_DTYPES: Final = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    **{
        f"tensor({sign}int{bits})": f"{sign}int{bits}"
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
}

# Operator types as onnxruntime names them after its graph optimizations. `MatMulNBits` and its
# kin have integer weights but compute in floating point, so they are not integer kernels.
_INTEGER_CONVOLUTIONS: Final = frozenset({"QLinearConv", "ConvInteger", "QLinearConvTranspose"})
_CONVOLUTIONS: Final = _INTEGER_CONVOLUTIONS | {
    "Conv",
    "ConvTranspose",
    "ConvTransposeWithDynamicPads",
    "FusedConv",
    "NhwcConv",
    "NhwcFusedConv",
}
_INTEGER_MATMULS: Final = frozenset(
    {
        "QLinearMatMul",
        "QGemm",
        "MatMulInteger",
        "MatMulInteger16",
        "MatMulIntegerToFloat",
        "DynamicQuantizeMatMul",
    }
)
_MATMULS: Final = _INTEGER_MATMULS | {
    "MatMul",
    "Gemm",
    "FusedMatMul",
    "FusedGemm",
    "TransposeMatMul",
    "SparseToDenseMatMul",
    "MatMulNBits",
    "MatMulBnb4",
    "MatMulFpQ4",
}
_FIRST_OPSET, _LAST_OPSET = 7, 63
_OUT_OF_MEMORY: Final = ("bad_alloc", "Failed to allocate memory", "std::length_error")


class OnnxSession:
    """A loaded ONNX model."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._inputs = tuple(_spec(value) for value in session.get_inputs())
        self._outputs = tuple(_spec(value) for value in session.get_outputs())

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the model takes."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the model gives."""
        return self._outputs

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """One inference; see `Session.run`."""
        try:
            outputs: list[Array] = self._session.run(None, feeds)
        except Exception as error:
            raise _translated(error, InferenceFailure) from error
        return outputs


class OnnxRuntime:
    """onnxruntime, on the CPU unless execution providers are named."""

    name = "onnxruntime"
    formats = ("onnx",)
    has_arena = True

    def prepare(self) -> None:
        """Import onnxruntime and open a tiny session; see `Runtime.prepare`."""
        _open_identity(_library(), _FIRST_OPSET)

    def load(self, path: Path, options: SessionOptions = DEFAULT_OPTIONS) -> Session:
        """The ONNX model in `path`; see `Runtime.load`."""
        return OnnxSession(self._open(path, options, profile_prefix=None))

    def kernels(
        self,
        path: Path,
        feeds: Mapping[str, Array],
        options: SessionOptions = DEFAULT_OPTIONS,
    ) -> KernelCounts:
        """The nodes of the optimized graph that ran, from onnxruntime's own profile.

        A node inside a loop counts once; a branch that was not taken does not count. The list of
        operators in the file says nothing: fusions decide which kernel runs.
        """
        with tempfile.TemporaryDirectory(prefix="fitment-profile-") as folder:
            session = self._open(path, options, profile_prefix=str(Path(folder) / "profile"))
            OnnxSession(session).run(feeds)
            return _count(_profiled_nodes(Path(session.end_profiling())))

    def describe(self, version: str) -> RuntimeFacts:
        """Providers, and the highest opset, found by offering tiny models to the runtime."""
        ort = _library()
        return RuntimeFacts(
            name=self.name,
            version=version,
            formats=self.formats,
            opset_max=_highest_opset(ort),
            providers=tuple(
                name for name in ort.get_available_providers() if name not in _ELSEWHERE
            ),
        )

    def _open(self, path: Path, options: SessionOptions, profile_prefix: str | None) -> Any:
        refuse_external_data(path)
        ort = _library()
        providers = options.providers or (_CPU,)
        missing = [name for name in providers if name not in ort.get_available_providers()]
        if missing:
            raise UnsupportedFormat(
                f"onnxruntime has no provider {', '.join(missing)} here; it has "
                f"{', '.join(ort.get_available_providers())}"
            )
        chosen = _session_options(ort, options, profile_prefix)
        try:
            with pinned(options.affinity):
                return ort.InferenceSession(str(path), chosen, providers=list(providers))
        except RuntimeFailure:
            raise
        except Exception as error:
            raise _translated(error, LoadFailure) from error


def _library() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeMissing(
            f"onnxruntime cannot be imported ({error}): pip install 'fitment[onnx]'"
        ) from error
    onnxruntime.set_default_logger_severity(4)
    return onnxruntime


def _session_options(ort: Any, options: SessionOptions, profile_prefix: str | None) -> Any:
    chosen = ort.SessionOptions()
    chosen.intra_op_num_threads = options.threads
    chosen.inter_op_num_threads = 1
    chosen.log_severity_level = 4  # fatal only: a failure comes as an exception
    level = ort.GraphOptimizationLevel
    chosen.graph_optimization_level = (
        level.ORT_ENABLE_ALL if options.graph_optimization else level.ORT_DISABLE_ALL
    )
    # The pattern lays tensors out in the arena: the one is of no use without the other.
    chosen.enable_cpu_mem_arena = chosen.enable_mem_pattern = options.arena
    # Spinning threads burn the energy that is being measured, and the cores of other processes.
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Without this the file itself decides whether it is parsed as ONNX, which was checked, or as
    # onnxruntime's own format, which was not.
    chosen.add_session_config_entry("session.load_model_format", "ONNX")
    if profile_prefix is not None:
        chosen.enable_profiling = True
        chosen.profile_file_prefix = profile_prefix
    return chosen


def _spec(value: Any) -> TensorSpec:
    dtype = _DTYPES.get(value.type)
    if dtype is None:
        raise UnsupportedFormat(
            f"{value.name!r} is of type {value.type}; only tensors of numbers are supported"
        )
    shape = tuple(axis if isinstance(axis, int) and axis >= 0 else None for axis in value.shape)
    return TensorSpec(name=value.name, dtype=dtype, shape=shape)


def _translated(error: Exception, otherwise: type[RuntimeFailure]) -> RuntimeFailure:
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, MemoryError) or any(sign in text for sign in _OUT_OF_MEMORY):
        return MemoryExceeded(f"onnxruntime could not get the memory it asked for: {text}")
    if type(error).__name__ == "NotImplemented" and otherwise is LoadFailure:
        return UnsupportedFormat(f"onnxruntime has no kernel for the model: {text}")
    return otherwise(f"onnxruntime: {text}")


def _highest_opset(ort: Any) -> int | None:
    """The highest ai.onnx opset that this build of onnxruntime accepts.

    onnxruntime does not tell, and refuses files stamped with a later opset than the last one that
    was final when it was built. So it is asked, with a one-node model per opset.
    """
    highest = None
    for opset in range(_FIRST_OPSET, _LAST_OPSET + 1):
        try:
            _open_identity(ort, opset)
        except Exception:  # noqa: BLE001 - onnxruntime's exceptions share no root
            break
        highest = opset
    return highest


def _open_identity(ort: Any, opset: int) -> None:
    options = _session_options(ort, DEFAULT_OPTIONS, None)
    ort.InferenceSession(identity_model(opset), options, providers=[_CPU])


def _profiled_nodes(profile: Path) -> Iterator[tuple[str, str]]:
    """Operator type and provider of every node that ran, each node once."""
    try:
        events = json.loads(profile.read_bytes())
    except ValueError:  # a node name can break the file, which onnxruntime does not escape
        return
    seen = set()
    for event in events:
        name, details = str(event.get("name")), event.get("args", {})
        node = (name, details.get("node_index"))
        if event.get("cat") != "Node" or not name.endswith("_kernel_time") or node in seen:
            continue
        seen.add(node)
        yield str(details.get("op_name")), str(details.get("provider"))


def _count(nodes: Iterable[tuple[str, str]]) -> KernelCounts:
    operators: Counter[str] = Counter()
    providers: Counter[str] = Counter()
    for operator, provider in nodes:
        operators[operator] += 1
        providers[provider] += 1

    def total(names: frozenset[str]) -> int:
        return sum(operators[name] for name in names)

    return KernelCounts(
        operators=dict(operators),
        convolutions=total(_CONVOLUTIONS),
        integer_convolutions=total(_INTEGER_CONVOLUTIONS),
        matmuls=total(_MATMULS),
        integer_matmuls=total(_INTEGER_MATMULS),
        providers=dict(providers),
    )
