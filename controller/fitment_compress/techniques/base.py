"""What a technique is: one class with declared options, needs and formats.

A technique changes a model; it neither measures nor names files. Modules of techniques import
onnx and its companions inside `apply`, so that listing them costs nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto


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


@dataclass(frozen=True)
class Context:
    """What a technique may use besides the model.

    Attributes:
        calibration: feeds of single samples, one array per model input; never evaluated on.
        scratch: an empty folder that is deleted afterwards.
    """

    calibration: Sequence[Mapping[str, NDArray[Any]]]
    scratch: Path


class Technique(ABC, Generic[OptionsT]):
    """One compression step.

    Attributes:
        name: what recipes call it.
        summary: what it does, in one line.
        options: the type of its options.
        formats: the file formats that it reads and writes.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    options: type[OptionsT]
    formats: ClassVar[tuple[str, ...]] = ("onnx",)

    @abstractmethod
    def needs(self, options: OptionsT) -> Requirements:
        """What a model must have for this technique with these options."""

    @abstractmethod
    def traits(self, options: OptionsT) -> tuple[str, ...]:
        """The words by which device classes and regions prefer or refuse the result."""

    @abstractmethod
    def apply(self, model: ModelProto, options: OptionsT, context: Context) -> ModelProto:
        """The compressed model; `model` itself may be changed.

        Raises:
            TechniqueError: the model has nothing that this technique can work on.
        """
