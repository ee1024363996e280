"""Recovery: the model as other techniques left it learns to do what the source does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fitment_compress.techniques.base import Context, Requirements, Technique
from fitment_compress.training.learn import learn
from fitment_compress.training.lesson import Lesson

if TYPE_CHECKING:
    from onnx import ModelProto


class RecoverOptions(Lesson):
    """How it learns; see `Lesson`.

    Attributes:
        batch_norm: off, because a model that was trained already gains nothing by it: the shipped
            image model, pruned by 80 %, came as far without, in two thirds of the time.
    """

    batch_norm: bool = False


class Recover(Technique[RecoverOptions]):
    """Retraining within what the steps before it made of the model.

    Zeroes stay zero, codebooks keep their codes, and integers behind DequantizeLinear learn
    through their rounding: after a quantiser, this is training through quantisation of the file
    that is shipped. The teacher is the source model, so unlabelled samples are enough.
    """

    name = "recover"
    summary = "retrains within what earlier steps made of the model; no labels needed"
    options = RecoverOptions
    learns = True

    def needs(self, options: RecoverOptions) -> Requirements:
        """The lowest opset that training reads."""
        return Requirements(opset=13)

    def traits(self, options: RecoverOptions) -> tuple[str, ...]:
        """`recovered`."""
        return ("recovered",)

    def apply(self, model: ModelProto, options: RecoverOptions, context: Context) -> ModelProto:
        """See `Technique.apply`."""
        return learn(model, options, context)
