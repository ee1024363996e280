"""One build of a model version, and what a device needs to run it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from fitment_contract.artifact import Artifact
from fitment_contract.base import Bytes, Count, Name, Record


class TensorSpec(Record):
    """An input or output of a model.

    Attributes:
        dtype: numpy's name of the element type (`float32`, `int64`).
        shape: one entry per axis; None where the axis is free.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class RecipeStep(Record):
    """One technique with its options."""

    technique: Name
    options: dict[str, Any] = Field(default_factory=dict)


class Needs(Record):
    """What a device must have for a variant to be worth offering.

    Attributes:
        runtime: name of the runtime that loads the format.
        opset: the ai.onnx opset of the file; None where the notion does not apply.
        isa_any_of: at least one of these features; empty means any CPU.
        providers_any_of: at least one of these execution providers; empty means the CPU.
        memory_bytes: peak working memory seen on the build host.
    """

    runtime: Name
    opset: Count | None = None
    isa_any_of: tuple[str, ...] = ()
    providers_any_of: tuple[str, ...] = ()
    memory_bytes: Bytes = 0


class Golden(Record):
    """Inputs with the outputs that the build host computed for them with this very file.

    Attributes:
        artifact: an npz with `input.<name>` and `output.<name>` arrays.
        tolerance: largest allowed difference of any output element, relative to the largest
            magnitude of that output on the build host. Integer kernels legitimately differ between
            CPUs, so theirs is wide: it catches garbage; accuracy is for the benchmark.
    """

    artifact: Artifact
    tolerance: Annotated[float, Field(gt=0)]


class Variant(Record):
    """One build of a model version.

    Attributes:
        name: unique within the model version, for example `int8-u8s8-per-channel`.
        model, model_version: what an application asks for.
        format: file format (`onnx`, `tflite`).
        precision: of the weights that dominate the file (`fp32`, `fp16`, `int8`, `int4`).
        traits: words that device classes and regions can prefer or refuse (`u8s8`, `s8s8`,
            `per-channel`, `reduce-range`, `dynamic`, `pruned`, `baseline`).
        recipe: the techniques that made it, in order; replayable.
        artifact: the file.
        compressed_bytes: what a transfer of the file moves: the size of its smallest encoding.
        golden: inputs and outputs that prove the file on another machine.
    """

    name: Name
    model: Name
    model_version: Annotated[int, Field(ge=1)] = 1
    format: Name
    precision: Name
    traits: tuple[Name, ...] = ()
    recipe: tuple[RecipeStep, ...] = ()
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    artifact: Artifact
    compressed_bytes: Bytes
    golden: Golden | None = None
    needs: Needs

    @property
    def digest(self) -> str:
        """The digest of the file: what a device means when it says `active`."""
        return self.artifact.digest
