"""A model of compression with a known answer: an evaluator that computes what others measure.

Every technique damages the score and saves time and bytes; recovery repairs what was damaged
before it, the more the longer it learns, and nothing that comes after: so order matters.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fitment_compress.errors import TechniqueError, WorkerError
from fitment_compress.recipe import Recipe
from fitment_compress.search.rules import SourceFacts
from fitment_compress.search.seam import Evaluation
from fitment_compress.techniques import AnyTechnique, known_techniques
from fitment_compress.techniques.base import Context, Options, Requirements, Technique
from fitment_contract.variant import RecipeStep

FACTS = SourceFacts(
    opset=17,
    operators=frozenset({"Conv", "Relu", "Gemm"}),
    weighted_operators=frozenset({"Conv", "Gemm"}),
    can_learn=True,
)
SOURCE_SCORE = 0.92
CHANCE = 0.1
MEASURING_SECONDS = 2.0


def step(technique: str, **options: Any) -> RecipeStep:
    return RecipeStep(technique=technique, options=options)


FIXED = (
    Recipe("fp32"),
    Recipe("int8", (step("int8-static"),)),
    Recipe("prune80-int8", (step("magnitude-prune", sparsity=0.8), step("int8-static"))),
    Recipe(
        "channels50-recovered",
        (step("channel-prune", ratio=0.5), step("recover", epochs=2.0), step("int8-static")),
    ),
)


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self._seconds = 1000.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self._seconds

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._seconds += seconds


@dataclass
class Landscape:
    """An evaluator.

    Attributes:
        clock, sleep: of the time that evaluations take.
        pace: seconds that pass for each second that a real candidate would take.
        breaks: a technique that raises, or none.
        elsewhere: what an earlier search evaluated was made on another machine.
        calls: the names of what was evaluated, in order.
        given_up: the names of what was begun and not finished.
    """

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    pace: float = 1.0
    breaks: str = ""
    elsewhere: bool = False
    calls: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def evaluate(self, recipe: Recipe, deadline: float) -> Evaluation:
        self.calls.append(recipe.name)
        if self.breaks in [entry.technique for entry in recipe.steps]:
            raise TechniqueError(f"{self.breaks} does not work here.")
        seconds = self.pace * duration_seconds(recipe)
        until = self.clock() + seconds
        while self.clock() < until:
            if self.cancelled.is_set() or self.clock() >= deadline:
                self.given_up.append(recipe.name)
                raise WorkerError("It was given up.")
            self.sleep(max(0.0, min(0.25 * self.pace, until - self.clock())))
        return measured(recipe, seconds)

    def is_made(self, recipe: Recipe) -> bool:
        return recipe.name in self.calls or not self.elsewhere

    def cancel(self) -> None:
        self.cancelled.set()


def measured(recipe: Recipe, seconds: float = 1.0) -> Evaluation:
    """What the landscape says about a recipe."""
    damage, latency, size = 0.0, 1e-3, 500_000.0
    for entry in recipe.steps:
        effect = _EFFECTS.get(entry.technique, lambda _: (0.001, 1.0, 1.0))
        if entry.technique == "recover":
            damage *= 0.15 + 0.85 * 2.0 ** (-_option(entry, "epochs"))
            continue
        hurt, faster, smaller = effect(_options(entry))
        damage += hurt * (1.0 + 4.0 * damage)
        latency, size = latency * faster, size * smaller
    wobble = int(hashlib.sha256(recipe.name.encode()).hexdigest()[:4], 16) / 65535 - 0.5
    return Evaluation(
        score=max(CHANCE, SOURCE_SCORE - damage + 0.001 * wobble),
        score_error=0.001 if recipe.steps else 0.0,
        higher_is_better=True,
        latency_seconds=latency,
        transferred_bytes=int(size),
        seconds_spent=seconds,
    )


def duration_seconds(recipe: Recipe) -> float:
    """How long the recipe takes without anything remembered."""
    learning = sum(_option(entry, "epochs") for entry in recipe.steps if entry.technique in LEARN)
    return MEASURING_SECONDS + 0.5 * len(recipe.steps) + 10.0 * learning


LEARN = ("recover", "distil")


def _options(entry: RecipeStep) -> Mapping[str, Any]:
    return stand_ins()[entry.technique].options.model_validate(entry.options).model_dump()


def _option(entry: RecipeStep, name: str) -> float:
    return float(_options(entry)[name])


def _prune(options: Mapping[str, Any]) -> tuple[float, float, float]:
    sparsity = options["sparsity"]
    return 0.003 * sparsity / (1.0 - sparsity) ** 1.2, 1.0, 1.0 - 0.85 * sparsity


def _channels(options: Mapping[str, Any]) -> tuple[float, float, float]:
    ratio = options["ratio"]
    return 0.5 * ratio**2, 1.0 - 0.85 * ratio, 1.0 - ratio


def _student(options: Mapping[str, Any]) -> tuple[float, float, float]:
    width, epochs = options["width"], options["epochs"]
    lost = 0.02 / width * (0.3 + 2.0 ** (-epochs))
    return lost, 0.1 + 0.9 * width**1.5, width**2


def _codebook(options: Mapping[str, Any]) -> tuple[float, float, float]:
    return 0.4 * 3.0 ** -options["bits"], 1.0, options["bits"] / 10.0


def _integers(options: Mapping[str, Any]) -> tuple[float, float, float]:
    fast = 0.6 if options["activation"] == "u8" else 0.8
    return 0.002 if options["per_channel"] else 0.012, fast, 0.4


_EFFECTS: Mapping[str, Callable[[Mapping[str, Any]], tuple[float, float, float]]] = {
    "magnitude-prune": _prune,
    "channel-prune": _channels,
    "distil": _student,
    "low-rank": lambda options: (0.3 * (1.0 - options["keep"]), options["keep"], 0.7),
    "codebook": _codebook,
    "ternary-weights": lambda _: (0.2, 1.0, 0.15),
    "int8-static": _integers,
    "int8-mixed": lambda _: (0.001, 0.7, 0.5),
    "int4-weights": lambda _: (0.01, 1.3, 0.6),
    "fp16": lambda _: (0.0, 1.5, 0.55),
}


class _StandIn(Technique[Options]):
    """A technique that is only asked for its options and needs."""

    summary = "stands in for a technique"

    def needs(self, options: Options) -> Requirements:
        return Requirements(any_operator=("Conv", "Gemm"), constant_weights=True)

    def traits(self, options: Options) -> tuple[str, ...]:
        return ()

    def apply(self, model: Any, options: Options, context: Context) -> Any:
        raise NotImplementedError


class _LessonOptions(Options):
    epochs: float = 3.0


class _DistilOptions(_LessonOptions):
    width: float = 0.5
    depthwise: bool = False


class _LowRankOptions(Options):
    keep: float = 0.9


class _CodebookOptions(Options):
    bits: int = 5


class _BudgetOptions(Options):
    budget: float = 0.003


def _stand_in(called: str, kind: type[Options], trains: bool = False) -> AnyTechnique:
    members = {"name": called, "options": kind, "learns": trains}
    return type(called, (_StandIn,), members)()


def stand_ins() -> dict[str, AnyTechnique]:
    """Techniques for every slot, whichever are installed with the package."""
    made = [
        _stand_in("recover", _LessonOptions, trains=True),
        _stand_in("distil", _DistilOptions, trains=True),
        _stand_in("low-rank", _LowRankOptions),
        _stand_in("codebook", _CodebookOptions),
        _stand_in("ternary-weights", Options),
        _stand_in("int8-mixed", _BudgetOptions),
        _stand_in("equalise", Options),
        _stand_in("bias-correct", Options),
    ]
    return {**known_techniques(), **{technique.name: technique for technique in made}}
