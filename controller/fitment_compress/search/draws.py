"""Choices between recipes as parameters of Optuna's trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import FixedTrial, Trial


class TrialDraw:
    """Choices that Optuna makes."""

    def __init__(self, trial: Trial | FixedTrial) -> None:
        self._trial = trial

    def choose(self, name: str, words: Sequence[str]) -> str:
        """See `Draw.choose`."""
        return str(self._trial.suggest_categorical(name, list(words)))

    def level(self, name: str, words: Sequence[str]) -> str:
        """See `Draw.level`."""
        return words[self._trial.suggest_int(name, 0, len(words) - 1)]


class Recorder:
    """Known choices, kept as the parameters that Optuna would hold for them.

    Attributes:
        parameters: by name.
    """

    def __init__(self, choices: Mapping[str, str]) -> None:
        self._choices = choices
        self.parameters: dict[str, Any] = {}

    def choose(self, name: str, words: Sequence[str]) -> str:
        """See `Draw.choose`."""
        self.parameters[name] = self._choices[name]
        return self._choices[name]

    def level(self, name: str, words: Sequence[str]) -> str:
        """See `Draw.level`."""
        self.parameters[name] = words.index(self._choices[name])
        return self._choices[name]
