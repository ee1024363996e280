"""What a technique is: one class with declared options, needs and formats.

A technique changes a model; it neither measures nor names files. Modules of techniques import
onnx and its companions inside `apply`, so that listing them costs nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from fitment_contract.portfolio import LayerSensitivity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fitment_runtime.dataset import Dataset


class Options(BaseModel):
    """The options of a technique; a word that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


OptionsT = TypeVar("OptionsT", bound=Options)


@dataclass(frozen=True)
class Requirements:
    """What a model must have for a technique to be worth trying.

    Attributes:
        opset: the lowest ai.onnx opset on which the technique writes valid files.
        any_operator: at least one node of one of these types; empty means any model.
        constant_weights: such a node must have a constant second input.
    """

    opset: int = 13
    any_operator: tuple[str, ...] = ()
    constant_weights: bool = False


Tell = Callable[[float, str], None]
"""Called with the share of the work that is done, 0 to 1, and what is being done."""


def silent(share: float, what: str) -> None:
    """Tell nobody."""


@dataclass
class Findings:
    """What a technique learnt about the model while it worked, for the report.

    Attributes:
        sensitivity: per layer, where layers were tried one by one.
        notes: what the reader should know, one sentence each.
    """

    sensitivity: list[LayerSensitivity] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Context:
    """What a technique may use besides the model.

    Attributes:
        calibration: feeds of single samples, one array per model input; never evaluated on.
        scratch: an empty folder that is deleted afterwards.
        source: the file of the cleaned source model, the teacher of whatever is retrained; None
            only where no technique `learns`.
        training: samples to learn from, with or without labels, never evaluated on; None unless
            the technique `learns`.
        seed: of every random choice.
        tell: reports how far the work is.
        findings: where the technique leaves what it learnt about the model.
        classification: whether an output of several numbers a sample may be scores of classes;
            otherwise they are numbers to be met.
    """

    calibration: Sequence[Mapping[str, NDArray[Any]]]
    scratch: Path
    source: Path | None = None
    training: Dataset | None = None
    seed: int = 0
    tell: Tell = silent
    findings: Findings = field(default_factory=Findings)
    classification: bool = True


class Technique(ABC, Generic[OptionsT]):
    """One compression step.

    Attributes:
        name: what recipes call it.
        summary: what it does, in one line.
        options: the type of its options.
        reads, writes: file formats. A model in the format `onnx` is an `onnx.ModelProto`, in
            `tflite` the bytes of the file.
        learns: whether it trains: needs PyTorch (the extra `train`) and samples to learn from.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    options: type[OptionsT]
    reads: ClassVar[str] = "onnx"
    writes: ClassVar[str] = "onnx"
    learns: ClassVar[bool] = False

    @abstractmethod
    def needs(self, options: OptionsT) -> Requirements:
        """What a model must have for this technique with these options."""

    @abstractmethod
    def traits(self, options: OptionsT) -> tuple[str, ...]:
        """The words by which device classes and regions prefer or refuse the result."""

    @abstractmethod
    def apply(self, model: Any, options: OptionsT, context: Context) -> Any:
        """The compressed model, in the format that it writes; `model` itself may be changed.

        Raises:
            TechniqueError: the model has nothing that this technique can work on.
        """
