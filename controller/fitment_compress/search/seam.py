"""What the search asks of the run, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fitment_compress.recipe import Recipe


@dataclass(frozen=True)
class Evaluation:
    """What was measured on the final file of one recipe.

    Attributes:
        score: on the evaluation samples.
        score_error: the standard error of the score minus the baseline's, sample by sample; None
            where it is not known.
        higher_is_better: of the score.
        latency_seconds: median of one inference on one thread.
        transferred_bytes: of the compressed file.
        seconds_spent: what building and measuring took, without what was remembered.
        latency_noise_ratio: how far two measurements of the same file lie apart, over the latency.
    """

    score: float
    score_error: float | None
    higher_is_better: bool
    latency_seconds: float
    transferred_bytes: int
    seconds_spent: float
    latency_noise_ratio: float = 0.05


class Evaluator(Protocol):
    """Builds and measures recipes; called from several threads at once."""

    def evaluate(self, recipe: Recipe, deadline: float) -> Evaluation:
        """Build the recipe, or what of it is not remembered, and measure it.

        Args:
            recipe: no steps means the baseline.
            deadline: on the clock of `time.monotonic`; work that is not done by then is given up.

        Raises:
            CompressError: the candidate failed, or the deadline passed.
        """

    def is_made(self, recipe: Recipe) -> bool:
        """Whether its files are here, so that it costs no more time."""

    def cancel(self) -> None:
        """Give up what is being evaluated, now: every running `evaluate` raises CompressError."""
