"""The samples in batches, changed as the lesson asks, with what the teacher says about them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from numpy.typing import NDArray
from torch import Tensor

from fitment_compress.errors import TechniqueError
from fitment_compress.training.augment import augment, blend, partners
from fitment_compress.training.lesson import Lesson
from fitment_compress.training.reference import Reference, tensor
from fitment_runtime.dataset import Dataset

REMEMBERED_BYTES: Final = 512 * 2**20
"""At most this much of what the teacher said is kept instead of being asked for again."""


@dataclass(frozen=True)
class Batch:
    """What one step learns from.

    Attributes:
        feeds: one tensor per input.
        teacher: the teacher's values for these feeds.
        targets: per sample the probability of each class by its labels; None without labels.
    """

    feeds: Mapping[str, Tensor]
    teacher: Mapping[str, Tensor]
    targets: Tensor | None


class Lecture:
    """Goes through the samples in random orders; equal seeds give equal batches."""

    def __init__(self, lesson: Lesson, samples: Dataset, teacher: Reference, seed: int) -> None:
        """Prepare the samples.

        Raises:
            TechniqueError: the samples have no batch axis.
        """
        if samples.whole:
            raise TechniqueError(
                f"Training needs a batch axis; {', '.join(sorted(samples.whole))} has none.",
                "Export the model with a free first axis, or use techniques that do not learn.",
            )
        self._inputs = {name: tensor(values) for name, values in samples.inputs.items()}
        self._teacher = teacher
        self._count = len(samples)
        self._size = min(lesson.batch, self._count)
        self._generator = torch.Generator().manual_seed(seed)
        images = [name for name, x in self._inputs.items() if x.ndim == 4 and x.is_floating_point()]
        self._images = images if lesson.augment else []
        self._kinds = lesson.augment if images else ()
        self._mixes = "mix" in self._kinds and len(images) == len(self._inputs)
        self._memory = _Memory(self._count)
        self._labels: Tensor | None = None
        self.per_epoch = max(1, self._count // self._size)

    def label(self, labels: NDArray[Any], classes: int) -> None:
        """Teach the labels too: class numbers, (count,)."""
        self._labels = torch.nn.functional.one_hot(tensor(labels).long(), classes).float()

    def some(self, limit: int) -> dict[str, Tensor]:
        """The feeds of at most `limit` samples from the whole length, unchanged."""
        chosen = torch.linspace(0, self._count - 1, min(limit, self._count)).long()
        return self._feeds(chosen)

    def batches(self, count: int) -> Iterator[Batch]:
        """So many batches, in a new order whenever all samples have been seen."""
        order = torch.randperm(self._count, generator=self._generator)
        for step in range(count):
            place = step % self.per_epoch
            if place == 0 and step:
                order = torch.randperm(self._count, generator=self._generator)
            yield self._batch(order[place * self._size : (place + 1) * self._size])

    def _batch(self, chosen: Tensor) -> Batch:
        feeds = self._feeds(chosen)
        targets = None if self._labels is None else self._labels[chosen]
        if not self._images:
            said = self._memory.recall(chosen, lambda: self._teacher(feeds))
            return Batch(feeds, said, targets)
        for name in self._images:
            feeds[name] = augment(feeds[name], self._kinds, self._generator)
        if self._mixes:
            partner, share = partners(len(chosen), self._generator)
            feeds = {name: blend(values, partner, share) for name, values in feeds.items()}
            targets = None if targets is None else blend(targets, partner, share)
        feeds = {name: _arranged(values) for name, values in feeds.items()}
        return Batch(feeds, self._teacher(feeds), targets)

    def _feeds(self, chosen: Tensor) -> dict[str, Tensor]:
        return {name: _arranged(values[chosen]) for name, values in self._inputs.items()}


class _Memory:
    """What the teacher said about each sample."""

    def __init__(self, count: int) -> None:
        self._known = torch.zeros(count, dtype=torch.bool)
        self._values: dict[str, Tensor] = {}

    def recall(self, chosen: Tensor, ask: Any) -> Mapping[str, Tensor]:
        """From memory where all of it is known."""
        if self._values and bool(self._known[chosen].all()):
            return {name: values[chosen] for name, values in self._values.items()}
        said: Mapping[str, Tensor] = ask()
        count = len(self._known)
        needed = sum(4 * count * values.numel() // len(chosen) for values in said.values())
        # Features may have more rows than samples, such as one per time step.
        rows = all(len(values) == len(chosen) for values in said.values())
        if rows and needed <= REMEMBERED_BYTES:
            for name, values in said.items():
                kept = self._values.setdefault(name, values.new_empty(count, *values.shape[1:]))
                kept[chosen] = values
            self._known[chosen] = True
        return said


def _arranged(values: Tensor) -> Tensor:
    """Images with their channels last: a third faster on a CPU."""
    return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values
