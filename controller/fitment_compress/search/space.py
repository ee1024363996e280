"""The recipes that the search may try, as choices that a sampler makes one after the other. Pure.

A recipe is: structure, sparsity and sharing, each or not, in any order; recovery after any of
them; then quantisation, equalised before and corrected after, and recovery once more. Every
sequence of choices makes a recipe that is valid for the source; different sequences make different
recipes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations, product
from typing import Any, Final, Protocol

from pydantic import ValidationError

from fitment_compress.recipe import Recipe
from fitment_compress.search.ladder import EPOCHS as RUNGS
from fitment_compress.search.moves import (
    AFTER_INTEGERS,
    BEFORE_INTEGERS,
    QUANTISATION,
    RECOVERY,
    SHARING,
    SPARSITY,
    STRUCTURE,
    WITH_PAIRS,
    Dimension,
    Move,
)
from fitment_compress.search.naming import identity, named
from fitment_compress.search.rules import (
    EPOCHS,
    FORMAT,
    SourceFacts,
    Techniques,
    applies,
    harsher_or_equal,
    learns,
    problem,
)
from fitment_compress.techniques import AnyTechnique, known_techniques
from fitment_contract.base import canonical_json, sha256_hex
from fitment_contract.variant import RecipeStep

NOTHING: Final = "nothing"
_NO, _YES = "no", "yes"
_LAST: Final = "quantisation"
_SLOTS: Final[Mapping[str, tuple[Move, ...]]] = {
    "structure": STRUCTURE,
    "sparsity": SPARSITY,
    "sharing": SHARING,
    _LAST: QUANTISATION,
}


class Draw(Protocol):
    """Where choices come from; a name is asked for at most once per recipe."""

    def choose(self, name: str, words: Sequence[str]) -> str:
        """One of the words, which have no order."""

    def level(self, name: str, words: Sequence[str]) -> str:
        """One of the words; neighbours are alike."""


class Space:
    """All recipes for one source.

    Args:
        facts: of the source.
        first_epochs: of every step that learns, in what is proposed: the lowest rung.
        techniques: all that are known, unless a caller says otherwise.

    Attributes:
        techniques: by name.
    """

    def __init__(
        self,
        facts: SourceFacts,
        first_epochs: float = RUNGS[0],
        techniques: Techniques | None = None,
    ) -> None:
        self._facts = facts
        self.techniques = known_techniques() if techniques is None else techniques
        self._first_epochs = first_epochs
        self._moves = {slot: self._usable(moves) for slot, moves in _SLOTS.items()}

    def digest(self) -> str:
        """Equal for spaces with the same choices, which alone can share a study."""
        table = {slot: [_plain(move) for move in moves] for slot, moves in self._moves.items()}
        extras = [self._has(name) for name in (RECOVERY, BEFORE_INTEGERS, AFTER_INTEGERS)]
        return sha256_hex(canonical_json([table, extras, self._first_epochs]))

    def propose(self, draw: Draw) -> Recipe:
        """A recipe made of what `draw` chooses; normalised, and named by what it is."""
        parts = {slot: self._part(draw, slot) for slot in _SLOTS}
        last = parts.pop(_LAST)
        present = {slot: step for slot, step in parts.items() if step is not None}
        steps: list[RecipeStep] = []
        for slot in self._order(draw, list(present)):
            steps.append(present[slot])
            # A student was trained just now; more of the same is a question of its epochs.
            if not learns(present[slot], self.techniques):
                steps += self._extra(draw, f"recover after {slot}", RECOVERY)
        if last is not None and last.technique in WITH_PAIRS:
            steps += self._extra(draw, BEFORE_INTEGERS, BEFORE_INTEGERS)
            steps.append(last)
            steps += self._extra(draw, AFTER_INTEGERS, AFTER_INTEGERS)
            steps += self._extra(draw, f"recover after {_LAST}", RECOVERY)
        elif last is not None:
            steps.append(last)
        return named(steps, techniques=self.techniques)

    def choices_of(self, recipe: Recipe) -> dict[str, str] | None:
        """What a `Draw` must say for the recipe to be proposed, but for its epochs.

        None where the space does not contain it.
        """
        replay = _Replay(self._answers(recipe))
        same = identity(self.propose(replay).steps, self.techniques) == identity(
            self.with_epochs(recipe, self._first_epochs).steps, self.techniques
        )
        return replay.asked if same else None

    def with_epochs(self, recipe: Recipe, epochs: float) -> Recipe:
        """The recipe with that many epochs in every step that learns, named by what it is."""
        return named(
            [self._trained(step, epochs) for step in recipe.steps], techniques=self.techniques
        )

    def learns(self, recipe: Recipe) -> bool:
        """Whether more epochs would change the recipe."""
        return any(learns(step, self.techniques) for step in recipe.steps)

    def problem(self, recipe: Recipe) -> str | None:
        """Why the recipe cannot work on this source, in a few words; None when it may."""
        return problem(recipe, self._facts, self.techniques)

    def harsher_or_equal(self, one: Recipe, other: Recipe) -> bool:
        """See `rules.harsher_or_equal`."""
        return harsher_or_equal(one, other, self.techniques)

    def identity(self, recipe: Recipe) -> str:
        """Equal for recipes that make the same model, whatever they are called."""
        return identity(recipe.steps, self.techniques)

    def _usable(self, moves: Sequence[Move]) -> tuple[Move, ...]:
        """The moves that the installed techniques can make, with the options that they have."""
        return tuple(
            _reduced(self.techniques[move.technique], move)
            for move in moves
            if self._has(move.technique)
        )

    def _has(self, name: str) -> bool:
        technique = self.techniques.get(name)
        if technique is None or (technique.reads, technique.writes) != (FORMAT, FORMAT):
            return False
        return applies(technique, technique.options(), self._facts)

    def _part(self, draw: Draw, slot: str) -> RecipeStep | None:
        moves = self._moves[slot]
        if not moves:
            return None
        technique = draw.choose(slot, [NOTHING, *(move.technique for move in moves)])
        if technique == NOTHING:
            return None
        move = next(move for move in moves if move.technique == technique)
        options: dict[str, Any] = {}
        for dimension in move.dimensions:
            choices = {_label(choice): choice for choice in dimension.choices}
            ask = draw.level if dimension.ordered else draw.choose
            options.update(choices[ask(f"{technique} {dimension.name}", list(choices))])
        step = RecipeStep(technique=technique, options=options)
        return self._trained(step, self._first_epochs)

    def _trained(self, step: RecipeStep, epochs: float) -> RecipeStep:
        if not learns(step, self.techniques):
            return step
        return step.model_copy(update={"options": {**step.options, EPOCHS: epochs}})

    @staticmethod
    def _order(draw: Draw, present: Sequence[str]) -> Sequence[str]:
        if len(present) < 2:
            return present
        orders = {_in_order(order): order for order in permutations(present)}
        return orders[draw.choose(_order_of(present), list(orders))]

    def _extra(self, draw: Draw, name: str, technique: str) -> list[RecipeStep]:
        if not self._has(technique) or draw.choose(name, [_NO, _YES]) == _NO:
            return []
        return [self._trained(RecipeStep(technique=technique), self._first_epochs)]

    def _answers(self, recipe: Recipe) -> dict[str, str]:
        """The choices that speak for the steps of a recipe, whether or not they make it."""
        answers: dict[str, str] = {}
        slots = {
            move.technique: (slot, move) for slot, moves in self._moves.items() for move in moves
        }
        present: list[str] = []
        followers = [*recipe.steps[1:], None]
        for step, after in zip(recipe.steps, followers, strict=False):
            if step.technique in (BEFORE_INTEGERS, AFTER_INTEGERS):
                answers[step.technique] = _YES
            if step.technique == AFTER_INTEGERS:
                slot = _LAST
            elif step.technique in slots:
                slot, move = slots[step.technique]
                answers[slot] = step.technique
                options = self.techniques[step.technique].options.model_validate(step.options)
                answers.update(_matching(move, options.model_dump()))
                present += [slot] if slot != _LAST else []
            else:
                continue
            if after is not None and after.technique == RECOVERY:
                answers[f"recover after {slot}"] = _YES
        declared = [slot for slot in _SLOTS if slot in present]
        answers[_order_of(declared)] = _in_order(present)
        return answers


class _Replay:
    """A draw that gives known answers, and the first word where it knows none."""

    def __init__(self, answers: Mapping[str, str]) -> None:
        self._answers = answers
        self.asked: dict[str, str] = {}

    def choose(self, name: str, words: Sequence[str]) -> str:
        answer = self._answers.get(name)
        self.asked[name] = answer if answer is not None and answer in words else words[0]
        return self.asked[name]

    level = choose


def _matching(move: Move, options: Mapping[str, Any]) -> dict[str, str]:
    """Per dimension of the move, the choice that is what the options say."""
    return {
        f"{move.technique} {dimension.name}": _label(choice)
        for dimension in move.dimensions
        for choice in dimension.choices
        if choice.items() <= options.items()
    }


def _reduced(technique: AnyTechnique, move: Move) -> Move:
    """The move without choices that the technique refuses, alone or beside others."""
    kept: list[Dimension] = []
    for dimension in move.dimensions:
        choices = tuple(choice for choice in dimension.choices if _accepts(technique, choice))
        trial = [*kept, Dimension(dimension.name, choices, dimension.ordered)]
        combined = product(*(entry.choices for entry in trial))
        if len(choices) > 1 and all(_accepts(technique, _merged(parts)) for parts in combined):
            kept = trial
    return Move(move.technique, tuple(kept))


def _accepts(technique: AnyTechnique, options: Mapping[str, Any]) -> bool:
    try:
        technique.options.model_validate(options)
    except ValidationError:
        return False
    return True


def _merged(choices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {option: value for choice in choices for option, value in choice.items()}


def _label(choice: Mapping[str, Any]) -> str:
    return "/".join(str(value) for value in choice.values())


def _order_of(slots: Sequence[str]) -> str:
    return f"order of {', '.join(slots)}"


def _in_order(slots: Sequence[str]) -> str:
    return " then ".join(slots)


def _plain(move: Move) -> list[Any]:
    dimensions = [
        [entry.name, entry.ordered, [dict(c) for c in entry.choices]] for entry in move.dimensions
    ]
    return [move.technique, dimensions]
