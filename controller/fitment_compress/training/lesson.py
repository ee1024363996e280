"""How something is learnt: the options that all techniques that learn share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fitment_compress.techniques.base import Options

Augmentation = Literal["flip", "shift", "mix"]


class Lesson(Options):
    """How a student is trained on what its teacher, the source model, says about the samples.

    Attributes:
        epochs: how often every sample is seen; a fraction takes that share of the samples.
        batch: samples per step.
        rate: the peak learning rate of AdamW (Loshchilov and Hutter, "Decoupled weight decay
            regularization", 2019), which rises over the first tenth of the steps and falls to zero
            along a cosine. Codebooks and stored integers learn at a tenth of it.
        weight_decay: of weights that are free; biases, codebooks and stored integers have none.
        temperature: softens the scores of teacher and student before they are compared (Hinton et
            al., "Distilling the knowledge in a neural network", 2015). Only for classifiers; other
            outputs are compared by their squared error over their variance.
        label_weight: share of the loss that the labels decide where there are class labels; the
            rest, and all of it without labels, is the teacher's.
        feature_weight: added weight of the squared error, over the variance, between what the
            last layers of teacher and student read, where they have the same shape.
        augment: changes of images, which the teacher sees as well: `flip` mirrors half of them,
            `shift` moves each by up to a fourteenth of its sides, `mix` blends pairs (Zhang et
            al., "mixup", 2018). Models without 4-d inputs ignore it.
        batch_norm: normalise behind the convolutions while learning; folded into them afterwards.
    """

    epochs: Annotated[float, Field(gt=0.0, le=1000.0)] = 2.0
    batch: Annotated[int, Field(ge=2, le=65536)] = 128
    rate: Annotated[float, Field(gt=0.0, le=1.0)] = 5e-3
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 1e-3
    temperature: Annotated[float, Field(gt=0.0, le=100.0)] = 2.0
    label_weight: Annotated[float, Field(ge=0.0, le=1.0)] = 0.3
    feature_weight: Annotated[float, Field(ge=0.0)] = 0.0
    augment: tuple[Augmentation, ...] = ()
    batch_norm: bool = True
