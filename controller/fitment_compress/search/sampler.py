"""What to try next: a sampler of this process, which is told what everyone found.

It is the multi-objective tree-structured Parzen estimator (Ozaki et al., "Multiobjective
tree-structured Parzen estimator", 2022). On the landscape of the tests it reached a hypervolume of
0.697 ± 0.043 after 100 candidates (mean and standard error of 8 seeds); NSGA-II reached 0.464 ±
0.036 and chance 0.419 ± 0.041. Sampling conditional choices together is not better than one by one
(0.692 ± 0.022), but proposes what is known already 0.4 times per candidate in place of 2.6 times.
Before about 40 candidates no sampler was better than chance.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import FixedTrial, FrozenTrial, Trial, TrialState, create_trial

from fitment_compress.recipe import Recipe
from fitment_compress.search.draws import Recorder, TrialDraw
from fitment_compress.search.space import Space

DIRECTIONS: Final = ("minimize",) * 3
STARTUP_CANDIDATES: Final = 12
"""What is drawn at random before the sampler trusts what it has learnt."""


@dataclass(frozen=True)
class Idea:
    """A recipe with the choices that make it, as Optuna holds them.

    Attributes:
        parameters, distributions: empty where the space does not contain the recipe.
        trial: the sampler's, where it proposed the recipe.
    """

    recipe: Recipe
    parameters: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    trial: Trial | None = None


class Sampler:
    """Proposes recipes; may be used by several threads.

    Args:
        space: of the recipes.
        seed: None for different proposals in every process.
    """

    def __init__(self, space: Space, seed: int | None) -> None:
        self._space = space
        memory = optuna.storages.InMemoryStorage()
        self._guided = optuna.create_study(
            storage=memory, study_name="search", directions=DIRECTIONS, sampler=_parzen(seed)
        )
        self._chance = optuna.load_study(
            storage=memory, study_name="search", sampler=RandomSampler(seed=seed)
        )
        self._learnt: set[int] = set()
        self._lock = threading.Lock()

    def learn(self, finished: Iterable[tuple[FrozenTrial, float]]) -> None:
        """Take note of finished trials, each with by how much its score is too low."""
        with self._lock:
            for trial, violation in finished:
                if trial.number not in self._learnt:
                    self._learnt.add(trial.number)
                    self._guided.add_trial(
                        create_trial(
                            state=trial.state,
                            values=trial.values,
                            params=trial.params,
                            distributions=trial.distributions,
                            constraints={"score": violation},
                        )
                    )

    def propose(self, at_random: bool) -> Idea:
        """What seems best, or anything at all; keeps away from it until it is forgotten."""
        with self._lock:
            trial = (self._chance if at_random else self._guided).ask()
            recipe = self._space.propose(TrialDraw(trial))
            return Idea(recipe, trial.params, trial.distributions, trial)

    def forget(self, idea: Idea) -> None:
        """Nobody is at the idea any more."""
        if idea.trial is not None:
            with self._lock:
                self._guided.tell(idea.trial, state=TrialState.FAIL)

    def idea_of(self, recipe: Recipe) -> Idea:
        """A recipe that somebody wrote, with the choices that would have made it."""
        choices = self._space.choices_of(recipe)
        if choices is None:
            return Idea(recipe, {}, {})
        recorder = Recorder(choices)
        self._space.propose(recorder)
        known = FixedTrial(recorder.parameters)
        self._space.propose(TrialDraw(known))
        return Idea(recipe, known.params, known.distributions)


def _parzen(seed: int | None) -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return TPESampler(
            seed=seed, n_startup_trials=STARTUP_CANDIDATES, multivariate=True, group=True
        )
