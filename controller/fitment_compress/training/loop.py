"""The training itself: steps, rates, and the proof that the file does what was trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor

from fitment_compress.errors import TechniqueError
from fitment_compress.graph import WEIGHTED_OPERATORS, sort_nodes
from fitment_compress.techniques.base import Context
from fitment_compress.training.constraints import WeightMaker
from fitment_compress.training.lecture import Lecture
from fitment_compress.training.lesson import Lesson
from fitment_compress.training.network import Network
from fitment_compress.training.norm import fold_norms, give_biases, insert_norms
from fitment_compress.training.objective import Objective, are_probabilities
from fitment_compress.training.reference import FREE_FIX, Reference
from fitment_compress.training.verify import is_quantised, refuse_difference

PROBED_SAMPLES: Final = 256
"""Samples for the statistics that training starts from."""

WARM_UP: Final = 0.1
"""Share of the steps in which the rate rises."""

LARGEST_GRADIENT: Final = 5.0
"""The norm at which gradients are clipped: students from random weights start with jumps."""


def train(
    model: ModelProto, lesson: Lesson, context: Context, makers: Mapping[str, WeightMaker]
) -> ModelProto:
    """See `learn.learn`."""
    student_model = ModelProto()
    student_model.CopyFrom(model)
    sort_nodes(student_model)
    if lesson.batch_norm:
        give_biases(student_model)
    assert context.source is not None
    assert context.training is not None
    source = onnx.load(context.source)
    features = (_last_read(student_model), _last_read(source)) if lesson.feature_weight else ()
    with _one_thread():
        student = Network(student_model, makers, features[:1])
        if not student.weights:
            raise TechniqueError("This model stores no numbers that could learn.")
        teacher = Reference(source, features[1:])
        lecture = Lecture(lesson, context.training, teacher, context.seed)
        feeds = lecture.some(PROBED_SAMPLES)
        objective = _objective(lesson, lecture, context, student, teacher, features, feeds)
        if not is_quantised(student_model):  # whose saturation on this machine may be learnt away
            refuse_difference(student_model, Network(student_model).freeze(), feeds)
        if lesson.batch_norm:
            insert_norms(student, student_model, feeds)
        _fit(student, lesson, lecture, objective, teacher, context)
        fold_norms(student, student_model)
        student.write(student_model)
        refuse_difference(student_model, student.freeze(), feeds)
    return student_model


@contextmanager
def _one_thread() -> Iterator[None]:
    """Candidates are built in parallel processes; threads on busy cores wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _last_read(model: ModelProto) -> str:
    """What the last layer with weights reads: the features that the outputs are made from."""
    nodes = [node for node in model.graph.node if node.op_type in WEIGHTED_OPERATORS]
    if not nodes:
        raise TechniqueError("This model has no layers whose features could be matched.")
    return str(nodes[-1].input[0])


def _objective(
    lesson: Lesson,
    lecture: Lecture,
    context: Context,
    student: Network,
    teacher: Reference,
    features: tuple[str, ...],
    feeds: Mapping[str, Tensor],
) -> Objective:
    """What to ask for, decided on the teacher's outputs."""
    his = teacher(feeds)
    _refuse_no_numbers(teacher, his)
    _refuse_fixed_batches(teacher, feeds, his)
    with torch.no_grad():
        own = student.eval()(feeds)
    label = context.training.label if context.training is not None else None
    first = teacher.outputs[0]
    shaped = his[first].is_floating_point() and his[first].ndim == 2 and his[first].shape[1] > 1
    classes = context.classification and shaped
    if label is not None:  # as the default metric reads labels
        classes = classes and label.ndim == 1 and label.dtype.kind in "iub"
    if classes and label is not None and lesson.label_weight:
        _teach_labels(lecture, label, his[first].shape[1], context)
    pairs = [features] if features and own[features[0]].shape == his[features[1]].shape else []
    if not any(his[name].is_floating_point() for name in teacher.outputs):
        raise TechniqueError(
            "No output of this model could be learnt: all are whole numbers.",
            "Export it with its scores as an output, or use techniques that do not learn.",
        )
    return Objective(
        lesson=lesson,
        scores=first if classes else None,
        probabilities=classes and are_probabilities(his[first]),
        matched={
            name: _variance(his[name])
            for name in teacher.outputs[1 if classes else 0 :]
            if his[name].is_floating_point()
        },
        features=[(mine, theirs, _variance(his[theirs])) for mine, theirs in pairs],
    )


def _teach_labels(lecture: Lecture, label: NDArray[Any], classes: int, context: Context) -> None:
    low, high = int(label.min()), int(label.max())
    if low >= 0 and high < classes:
        lecture.label(label, classes)
    else:
        context.findings.notes.append(
            f"The labels of the training samples were not learnt from: they run from {low} to "
            f"{high}, and the model has {classes} classes, numbered from 0."
        )


def _refuse_no_numbers(teacher: Reference, said: Mapping[str, Tensor]) -> None:
    """Raise TechniqueError where the teacher itself says NaN or infinity."""
    for name in teacher.outputs:
        if not bool(torch.isfinite(said[name]).all()):
            raise TechniqueError(
                f"The source model's output {name} is NaN or infinite for some training samples.",
                "Remove these samples, or scale them as those that the model was trained on.",
            )


def _variance(values: Tensor) -> Tensor:
    return values.var(unbiased=False).clamp_min(1e-12)


def _refuse_fixed_batches(
    teacher: Reference, feeds: Mapping[str, Tensor], together: Mapping[str, Tensor]
) -> None:
    """Raise TechniqueError where a batch does not give what its samples give alone."""
    alone = teacher({name: values[:1] for name, values in feeds.items()})
    count = len(next(iter(feeds.values())))
    for name in teacher.outputs:
        batch, single = together[name], alone[name]
        if (
            not batch.ndim
            or len(batch) != count
            or not torch.allclose(batch[:1], single, rtol=1e-2, atol=1e-3)
        ):
            raise TechniqueError(
                "This model computes something else for a batch than for its samples alone.",
                FREE_FIX,
            )


def _fit(
    student: Network,
    lesson: Lesson,
    lecture: Lecture,
    objective: Objective,
    teacher: Reference,
    context: Context,
) -> None:
    steps = max(1, round(lesson.epochs * lecture.per_epoch))
    optimiser = torch.optim.AdamW(_groups(student, lesson))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _share(step, steps))
    parameters = [p for p in student.parameters() if p.requires_grad]
    student.train()
    mean, told = 0.0, -1
    for step, batch in enumerate(lecture.batches(steps)):
        loss = objective(student(batch.feeds), batch.teacher, batch.targets)
        if not loss.requires_grad:
            raise TechniqueError(
                "Nothing that this model stores changes its outputs smoothly.",
                "Leave this step out.",
            )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
        optimiser.step()
        schedule.step()
        mean += (loss.item() - mean) / min(step + 1, 50)
        if not math.isfinite(mean):
            _refuse_no_numbers(teacher, batch.teacher)
            raise TechniqueError(
                f"The loss became infinite at a rate of {lesson.rate}.", "Choose a lower rate."
            )
        if (now := 100 * (step + 1) // steps) != told:
            told, epoch = now, step // lecture.per_epoch + 1
            total = math.ceil(lesson.epochs)
            context.tell((step + 1) / steps, f"epoch {epoch}/{total} loss {mean:.4f}")
    student.eval()


def _groups(student: Network, lesson: Lesson) -> list[dict[str, Any]]:
    """What learns, at which rate, with which decay."""
    groups = [
        {
            "params": [weight.latent],
            "lr": lesson.rate * weight.pace,
            "weight_decay": lesson.weight_decay if weight.decays else 0.0,
        }
        for weight in student.weights.values()
        if weight.latent.requires_grad
    ]
    norms = list(student.norms.parameters())
    return [*groups, {"params": norms, "lr": lesson.rate, "weight_decay": 0.0}]


def _share(step: int, steps: int) -> float:
    """Of the peak rate: rises linearly, then falls along a cosine to zero."""
    rising = max(1.0, WARM_UP * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1.0, steps - rising)))
