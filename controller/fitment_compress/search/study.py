"""Who tries what: the candidates of a search, shared by threads, processes and machines.

Candidates are trials in the storage; proposals that come to nothing never get there. With
`sampler.py`, `storage.py` and `draws.py` the only module that needs Optuna; imported when a search
begins.
"""

from __future__ import annotations

import os
import socket
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import optuna
import psutil
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, TrialState, create_trial

from fitment_compress.errors import WorkerError
from fitment_compress.recipe import Recipe
from fitment_compress.search.front import Costs
from fitment_compress.search.results import Result
from fitment_compress.search.sampler import DIRECTIONS, Idea, Sampler
from fitment_compress.search.space import Space
from fitment_compress.search.storage import GRACE_SECONDS, Heart, open_storage
from fitment_contract.variant import RecipeStep

MOST_ATTEMPTS: Final = 2
"""A candidate whose process died as often is not tried again."""

_CANDIDATE, _OWNER, _RESULT, _VIOLATION = "candidate", "owner", "result ", "violation"
_UNUSABLE: Final = 1e6
_TAKEN: Final = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
_DONE: Final = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Candidate:
    """A recipe that is this process's to evaluate.

    Attributes:
        trial_id: in the storage.
        number: unique in the study.
        fixed: it was asked for by name; it is evaluated as it is.
        idea: where it came from; None for what was queued.
    """

    trial_id: int
    number: int
    recipe: Recipe
    fixed: bool
    idea: Idea | None = None


class Study:
    """One search, under a name that all who take part in it know; for threads of one process.

    Args:
        url: `sqlite:///FILE` for processes of one machine, `postgresql://...` for many machines.
        name: of the study; continued where it exists.
        space: what is proposed; must be the same for all who take part.
        seed: of the sampler; None for a different one in every process.

    Raises:
        RequestError: the storage cannot be opened.
    """

    def __init__(self, url: str, name: str, space: Space, seed: int | None = None) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.host = socket.gethostname()
        self._space = space
        self._storage = open_storage(url, stale=lambda _, trial: self._queue_again(trial))
        self._study = optuna.create_study(
            storage=self._storage, study_name=name, directions=DIRECTIONS, load_if_exists=True
        )
        self._study_id = self._storage.get_study_id_from_name(name)
        self._sampler = Sampler(space, seed)
        self._lock = threading.Lock()
        self._heart = Heart(self._storage)

    def close(self) -> None:
        """Stop the heartbeat and let go of the storage."""
        self._heart.stop()
        self._storage.remove_session()
        self._storage.engine.dispose()

    def recover(self) -> int:
        """Queue again what processes of this machine were at when they died; how many."""
        dead = [trial for trial in self._trials(TrialState.RUNNING) if self._is_orphan(trial)]
        return sum(self._give_back(trial, died=True) for trial in dead)

    def enqueue(self, recipes: Sequence[Recipe]) -> None:
        """Have these evaluated before anything is sampled, but for those that already are."""
        known = self.taken()
        for recipe in recipes:
            if self._space.identity(recipe) not in known:
                self._queue(recipe, fixed=True, attempts=0)

    def taken(self) -> frozenset[str]:
        """The identities of everything that is queued, evaluated now, or done."""
        return frozenset(_entry(trial)["identity"] for trial in self._trials(*_TAKEN))

    def queued(self) -> Candidate | None:
        """The next of what is queued, interrupted ones first; None when the queue is empty."""
        with self._lock, warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._heart.beat()  # whoever was asleep for long must not take himself for dead
            fail_stale_trials(self._study)
            waiting = self._trials(TrialState.WAITING)
            for trial in sorted(waiting, key=_place):
                try:
                    won = self._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
                except UpdateFinishedTrialError:
                    continue
                if not won:
                    continue
                candidate = self._begun(trial._trial_id, trial.number, _entry(trial), None)
                if not self._is_double(candidate):
                    return candidate
        return None

    def propose(self, at_random: bool = False) -> Idea:
        """What the sampler thinks best, or anything at all."""
        done = self._trials(*_DONE)
        self._sampler.learn((trial, trial.user_attrs.get(_VIOLATION, 0.0)) for trial in done)
        return self._sampler.propose(at_random)

    def reject(self, idea: Idea) -> None:
        """The idea comes to nothing, and the sampler learns nothing of it."""
        self._sampler.forget(idea)

    def claim(self, idea: Idea) -> Candidate | None:
        """The idea as this process's candidate; None when another process was faster."""
        entry = self._described(idea.recipe, fixed=False, attempts=0)
        template = create_trial(
            state=TrialState.RUNNING,
            params=idea.parameters,
            distributions=idea.distributions,
            user_attrs={_CANDIDATE: entry},
        )
        with self._lock:
            trial_id = self._storage.create_new_trial(self._study_id, template)
            number = self._storage.get_trial(trial_id).number
            candidate = self._begun(trial_id, number, entry, idea)
            return None if self._is_double(candidate) else candidate

    def record(self, candidate: Candidate, result: Result) -> None:
        """Remember what was measured; it survives whatever happens to the candidate."""
        self._attribute(candidate.trial_id, *_stored(result))

    def finish(self, candidate: Candidate, costs: Costs | None, violation: float) -> None:
        """The candidate is done.

        Args:
            candidate: what `queued` or `claim` gave.
            costs: what the sampler learns from; None where the candidate failed.
            violation: by how much its score is below what is tolerated; not positive is fine.
        """
        failed = costs is None
        self._attribute(candidate.trial_id, _VIOLATION, _UNUSABLE if failed else violation)
        self._end(candidate, TrialState.PRUNED if failed else TrialState.COMPLETE, costs)

    def drop(self, candidate: Candidate) -> None:
        """The candidate is not evaluated now; a later search may."""
        self._end(candidate, TrialState.FAIL)

    def give_back(self, candidate: Candidate) -> None:
        """The candidate was interrupted: whoever asks next has it."""
        self._heart.remove(candidate.trial_id)
        self._give_back(self._storage.get_trial(candidate.trial_id), died=False)

    def add(self, result: Result, costs: Costs) -> None:
        """Remember something that was evaluated without having been a candidate."""
        key, value = _stored(result)
        entry = self._described(result.recipe, fixed=True, attempts=0)
        attributes = {_CANDIDATE: entry, key: value}
        self._study.add_trial(create_trial(values=list(costs), user_attrs=attributes))

    def results(self) -> tuple[Result, ...]:
        """Everything that was evaluated, by whomever, in the order of the candidates."""
        return tuple(
            Result.model_validate(value)
            for trial in self._trials()
            for key, value in sorted(trial.user_attrs.items())
            if key.startswith(_RESULT)
        )

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states or None)

    def _described(self, recipe: Recipe, fixed: bool, attempts: int) -> dict[str, Any]:
        steps = [step.model_dump(mode="json") for step in recipe.steps]
        return {
            "identity": self._space.identity(recipe),
            "name": recipe.name,
            "steps": steps,
            "fixed": fixed,
            "attempts": attempts,
        }

    def _queue(self, recipe: Recipe, fixed: bool, attempts: int, place: int | None = None) -> None:
        idea = self._sampler.idea_of(recipe)
        entry = {**self._described(recipe, fixed, attempts), "place": place}
        self._study.add_trial(
            create_trial(
                state=TrialState.WAITING,
                params=idea.parameters,
                distributions=idea.distributions,
                user_attrs={_CANDIDATE: entry},
            )
        )

    def _queue_again(self, trial: FrozenTrial, died: bool = True) -> None:
        """Queue the recipe of a failed trial, unless it took its process down too often."""
        entry = _entry(trial)
        attempts = entry["attempts"] + died
        if attempts < MOST_ATTEMPTS:
            self._queue(_recipe(entry), entry["fixed"], attempts, _place(trial))
            return
        result = Result(
            name=entry["name"],
            steps=_recipe(entry).steps,
            identity=entry["identity"],
            climb=trial.number,
            rung=None,
            host=self.host,
            failure=f"Each of the {attempts} processes that evaluated it died.",
            error_kind=WorkerError.__name__,
        )
        key, value = _stored(result)
        attributes = {_CANDIDATE: entry, key: value, _VIOLATION: _UNUSABLE}
        self._study.add_trial(
            create_trial(
                state=TrialState.PRUNED,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=attributes,
            )
        )

    def _begun(
        self, trial_id: int, number: int, entry: Mapping[str, Any], idea: Idea | None
    ) -> Candidate:
        self._heart.add(trial_id)
        process = psutil.Process()
        owner = {"host": self.host, "pid": process.pid, "started": process.create_time()}
        self._attribute(trial_id, _OWNER, owner)
        return Candidate(trial_id, number, _recipe(entry), entry["fixed"], idea)

    def _is_double(self, candidate: Candidate) -> bool:
        """Whether a candidate with a lower number makes the same model; then this one is dropped.

        Trials get their numbers one by one and bring their recipes with them, so every lower one
        is seen here, and of two that are begun at once exactly one gives way.
        """
        identity = self._space.identity(candidate.recipe)
        earlier = (trial for trial in self._trials(*_TAKEN) if trial.number < candidate.number)
        double = any(_entry(trial)["identity"] == identity for trial in earlier)
        if double:
            self._heart.remove(candidate.trial_id)
            self._storage.set_trial_state_values(candidate.trial_id, TrialState.FAIL)
        return double

    def _is_orphan(self, trial: FrozenTrial) -> bool:
        """Whether a trial that runs belongs to no process, or to one of this machine that died."""
        owner = trial.user_attrs.get(_OWNER)
        if owner is None:
            begin = trial.datetime_start
            return begin is None or (datetime.now() - begin).total_seconds() > GRACE_SECONDS
        if owner["host"] != self.host or owner["pid"] == os.getpid():
            return False
        try:
            started = psutil.Process(owner["pid"]).create_time()
        except psutil.NoSuchProcess:
            return True
        return bool(abs(started - owner["started"]) > 1.0)  # else the number was given out again

    def _give_back(self, trial: FrozenTrial, died: bool) -> bool:
        """Fail the trial and queue its recipe again, unless another process just did."""
        try:
            self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return False
        self._queue_again(trial, died)
        return True

    def _attribute(self, trial_id: int, key: str, value: Any) -> None:
        self._storage.set_trial_user_attr(trial_id, key, value)

    def _end(self, candidate: Candidate, state: TrialState, costs: Costs | None = None) -> None:
        self._heart.remove(candidate.trial_id)
        self._storage.set_trial_state_values(candidate.trial_id, state, costs)
        if candidate.idea is not None:
            self._sampler.forget(candidate.idea)  # it hears of the trial as of everyone's


def _entry(trial: FrozenTrial) -> dict[str, Any]:
    entry: dict[str, Any] = trial.user_attrs[_CANDIDATE]
    return entry


def _place(trial: FrozenTrial) -> int:
    """Its place in the queue: what was interrupted keeps the place that it had."""
    place: int | None = _entry(trial).get("place")
    return trial.number if place is None else place


def _recipe(entry: Mapping[str, Any]) -> Recipe:
    steps = tuple(RecipeStep.model_validate(step) for step in entry["steps"])
    return Recipe(entry["name"], steps)


def _stored(result: Result) -> tuple[str, dict[str, Any]]:
    return f"{_RESULT}{result.rung or 0}", result.model_dump(mode="json")
