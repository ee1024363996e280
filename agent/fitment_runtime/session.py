"""The two seams that every inference runtime implements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from fitment_contract.benchmark import KernelCounts
from fitment_contract.device import RuntimeFacts
from fitment_contract.variant import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"
"""A numpy array of any type; named lazily, because importing this module must not import numpy."""


@dataclass(frozen=True)
class SessionOptions:
    """How a model is to be run.

    Attributes:
        threads: intra-op threads. Always explicit: a runtime's own choice depends on the machine.
        providers: execution providers or delegates in order of preference; empty means the CPU.
        graph_optimization: let the runtime fuse and rewrite the graph.
        affinity: cores that the runtime's own threads stay on; empty for all. The thread that
            calls `run` computes as well, and is kept there by whoever owns it: see `affinity`.
        arena: let the runtime keep freed memory for the next inference; only where `has_arena`.
    """

    threads: int = 1
    providers: tuple[str, ...] = ()
    graph_optimization: bool = True
    affinity: tuple[int, ...] = ()
    arena: bool = True


DEFAULT_OPTIONS = SessionOptions()


class Session(Protocol):
    """A loaded model."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the model takes."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the model gives, in the order of `run`."""

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """One inference.

        Args:
            feeds: one array per input, by name, with the input's dtype and shape.

        Returns:
            One array per output.

        Raises:
            InferenceFailure: the runtime could not run the model on these arrays.
            MemoryExceeded: it could not get the memory to do so.
        """


class Runtime(Protocol):
    """An inference library, wrapped.

    Attributes:
        name: its name in facts, needs and reports.
        formats: file formats that it reads.
        has_arena: whether `SessionOptions.arena` means anything to it.
    """

    name: str
    formats: tuple[str, ...]
    has_arena: bool

    def prepare(self) -> None:
        """Import the library and start it, so that `load` measures the model alone.

        Raises:
            RuntimeMissing: it is not installed, or cannot be imported here.
        """

    def load(self, path: Path, options: SessionOptions = DEFAULT_OPTIONS) -> Session:
        """The model in `path`, ready to run.

        Raises:
            LoadFailure: the file is not a model that may be loaded.
            UnsupportedFormat: it needs what this runtime does not have.
            MemoryExceeded: it needs more memory than there is.
        """

    def kernels(
        self,
        path: Path,
        feeds: Mapping[str, Array],
        options: SessionOptions = DEFAULT_OPTIONS,
    ) -> KernelCounts:
        """The kernels that ran for one inference; empty where the runtime does not tell.

        Raises:
            LoadFailure: see `load`.
            InferenceFailure: see `Session.run`.
        """

    def describe(self, version: str) -> RuntimeFacts:
        """What this runtime can do on this machine; imports it."""
