"""What can go wrong in compression, named by whose fault it is, each with the next step."""

from __future__ import annotations

from pathlib import Path


class CompressError(Exception):
    """The root of everything that compression raises on purpose.

    Attributes:
        problem: what is wrong, in one sentence.
        fix: what to do about it, in one sentence.
    """

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(f"{problem} {fix}".strip())
        self.problem = problem
        self.fix = fix


class SourceError(CompressError):
    """The model file that was handed in cannot be used as it is."""


class SamplesError(CompressError):
    """The data that were handed in cannot be used as they are."""


class RecipeError(CompressError):
    """A recipe file says something that cannot be done.

    Attributes:
        path, line: where it says so; lines count from 1.
    """

    def __init__(self, path: Path, line: int, problem: str, fix: str) -> None:
        super().__init__(f"{path}:{line}: {problem}", fix)
        self.path = path
        self.line = line


class RequestError(CompressError):
    """The request itself is contradictory: an unknown recipe name, a name that is no name."""


class TechniqueError(CompressError):
    """A technique cannot do anything for this model; its candidate is listed as failed."""


class CandidateError(CompressError):
    """A candidate was built, and does not work; it is listed as failed."""


class WorkerError(CompressError):
    """A child process crashed, hung, took too much memory, or broke its protocol."""


class OutputError(CompressError):
    """The portfolio folder cannot be written without destroying something else."""


BY_NAME: dict[str, type[CompressError]] = {
    kind.__name__: kind
    for kind in (
        SourceError,
        SamplesError,
        RequestError,
        TechniqueError,
        CandidateError,
        OutputError,
    )
}
"""The errors that a child process reports to its parent by name."""
