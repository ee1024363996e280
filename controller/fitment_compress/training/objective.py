"""What a student is asked for: the teacher's outputs, the labels, the teacher's last features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as nn
from torch import Tensor

from fitment_compress.training.lesson import Lesson

SMALLEST_PROBABILITY: Final = 1e-6
"""Below it, the logarithm of a probability is mostly rounding."""

Values = Mapping[str, Tensor]


@dataclass(frozen=True)
class Objective:
    """The loss of a student.

    Attributes:
        lesson: temperature and weights.
        scores: the output that holds class scores; None for a model that is no classifier.
        probabilities: the scores are probabilities already.
        matched: other outputs: those are compared as numbers, each with its variance.
        features: pairs of values of student and teacher, with the variance of the teacher's.
    """

    lesson: Lesson
    scores: str | None
    probabilities: bool
    matched: Mapping[str, Tensor]
    features: Sequence[tuple[str, str, Tensor]] = ()

    def __call__(self, student: Values, teacher: Values, targets: Tensor | None) -> Tensor:
        """The loss of a batch.

        Args:
            student: its values by name.
            teacher: likewise.
            targets: per sample the probability of each class by its labels, (count, classes).
        """
        losses = [
            nn.mse_loss(student[name], teacher[name]) / variance
            for name, variance in self.matched.items()
        ]
        losses += [
            self.lesson.feature_weight * nn.mse_loss(student[own], teacher[his]) / variance
            for own, his, variance in self.features
        ]
        if self.scores is not None:
            losses.append(self._classes(student[self.scores], teacher[self.scores], targets))
        return torch.stack(losses).sum()

    def _classes(self, student: Tensor, teacher: Tensor, targets: Tensor | None) -> Tensor:
        own, his = (self._logits(values) for values in (student, teacher))
        soft = distillation_loss(own, his, self.lesson.temperature)
        if targets is None or self.lesson.label_weight == 0:
            return soft
        hard = nn.cross_entropy(own, targets)
        return (1 - self.lesson.label_weight) * soft + self.lesson.label_weight * hard

    def _logits(self, values: Tensor) -> Tensor:
        return values.clamp_min(SMALLEST_PROBABILITY).log() if self.probabilities else values


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL divergence of softened class scores, times the temperature squared.

    The factor keeps the gradients' size when the temperature changes (Hinton et al., 2015).

    Args:
        student: logits, (count, classes).
        teacher: likewise.
        temperature: above 0; at 1 the scores are compared as they are.
    """
    own, his = (nn.log_softmax(values / temperature, 1) for values in (student, teacher))
    return nn.kl_div(own, his, log_target=True, reduction="batchmean") * temperature**2


def soft_labels(logits: Tensor, temperature: float) -> Tensor:
    """Class probabilities softened by a temperature; towards 0 they become the hard label."""
    return nn.softmax(logits / temperature, 1)


def are_probabilities(scores: Tensor) -> bool:
    """Whether every row is not negative and sums to one."""
    sums = scores.sum(1)
    return bool((scores >= 0).all()) and bool(
        torch.allclose(sums, torch.ones_like(sums), atol=1e-3)
    )
