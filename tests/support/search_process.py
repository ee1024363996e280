"""A search in a process of its own: `python -m support.search_process STORAGE LOG SECONDS PACE`.

Every evaluation is a line in LOG when it begins and another when it ends, written at once, so that
several processes can share the file and a killed one leaves what it did.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from fitment_compress.progress import Silent
from fitment_compress.recipe import Recipe
from fitment_compress.search.explore import SearchRequest, search
from fitment_compress.search.seam import Evaluation
from fitment_compress.search.space import Space
from support.search_landscape import FACTS, Landscape, stand_ins, step

TESTS = Path(__file__).parent.parent
SMALL_FIXED = (
    Recipe("fp32"),
    Recipe("half", (step("fp16"),)),
    Recipe("few-values", (step("codebook", bits=4),)),
)


@dataclass
class Logged(Landscape):
    """A landscape that says what it does."""

    log: Path = Path()

    def evaluate(self, recipe: Recipe, deadline: float) -> Evaluation:
        self._say("begin", recipe)
        evaluation = super().evaluate(recipe, deadline)
        self._say("end", recipe)
        return evaluation

    def _say(self, what: str, recipe: Recipe) -> None:
        with self.log.open("a", encoding="utf-8") as stream:
            stream.write(f"{os.getpid()} {what} {recipe.name}\n")


def small_space() -> Space:
    """A space of 24 recipes: five codebooks or none, by three ways to quantise or none."""
    known = stand_ins()
    used = ("codebook", "fp16", "int8-dynamic")
    return Space(FACTS, techniques={name: known[name] for name in used})


def asked(storage: str, seconds: float) -> SearchRequest:
    """The search of every process."""
    return SearchRequest("shared", storage, seconds, SMALL_FIXED)


def start(storage: str, log: Path, seconds: float, pace: float) -> subprocess.Popen[bytes]:
    """Begin a search in another process."""
    return subprocess.Popen(
        [sys.executable, "-m", "support.search_process", storage, log, str(seconds), str(pace)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
    )


def lines(log: Path, what: str) -> list[tuple[int, str]]:
    """Process and recipe of each line that says `what`."""
    if not log.exists():
        return []
    entries = [line.split() for line in log.read_text("utf-8").splitlines()]
    return [(int(process), name) for process, said, name in entries if said == what]


def main() -> None:
    """See the module."""
    storage, log, seconds, pace = sys.argv[1:]
    landscape = Logged(pace=float(pace), log=Path(log))
    search(asked(storage, float(seconds)), small_space(), landscape, Silent())


if __name__ == "__main__":
    main()
