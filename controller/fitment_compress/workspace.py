"""Where the files of one run lie until the portfolio is written.

The workspace outlives an interrupted run: what was answered once is found again by the next run
over the same files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from fitment_compress.errors import OutputError
from fitment_contract.base import sha256_hex


def cannot_write(folder: Path, error: OSError) -> OutputError:
    """Nothing more can be kept: the run ends, and what it made so far stays."""
    return OutputError(
        f"Cannot write {folder}: {error.strerror or error}.",
        "Make room there; the same command then goes on where this one stopped.",
    )


@dataclass(frozen=True)
class StageFiles:
    """The files of one stage."""

    folder: Path

    def model(self, file_format: str) -> Path:
        """The model itself."""
        return self.folder / f"model.{file_format}"

    @property
    def packed(self) -> Path:
        """The model as it travels, where that is smaller."""
        return self.folder / "model.packed"

    @property
    def golden(self) -> Path:
        """Inputs, and its outputs for them."""
        return self.folder / "golden.npz"

    @property
    def values(self) -> Path:
        """The metric per evaluation sample."""
        return self.folder / "values.npy"


@dataclass(frozen=True)
class Workspace:
    """The files of one run."""

    root: Path

    @property
    def clean(self) -> Path:
        """The cleaned source model."""
        return self.root / "clean.onnx"

    @property
    def calibration(self) -> Path:
        """Samples to calibrate with."""
        return self.root / "calibration.npz"

    @property
    def training(self) -> Path:
        """Samples to learn from."""
        return self.root / "training.npz"

    @property
    def evaluation(self) -> Path:
        """Samples to score on."""
        return self.root / "evaluation.npz"

    @property
    def reference(self) -> Path:
        """The source model's outputs for the evaluation samples."""
        return self.root / "reference.npz"

    @property
    def study(self) -> Path:
        """The database of a search."""
        return self.root / "study.db"

    def stage(self, key: str) -> StageFiles:
        """The files of the stage `key`."""
        files = self._files(key)
        try:
            files.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.root, error) from error
        return files

    def holds(self, key: str) -> bool:
        """Whether the files of the stage `key` are there: golden outputs are written last."""
        return self._files(key).golden.is_file()

    def _files(self, key: str) -> StageFiles:
        return StageFiles(self.root / "stages" / key)

    def remembered(self, question: str) -> str | None:
        """The answer that was kept for a question, if one was."""
        path = self._answer(question)
        return path.read_text("utf-8") if path.is_file() else None

    def remember(self, question: str, answer: str) -> None:
        """Keep an answer; whoever is interrupted here kept nothing."""
        path = self._answer(question)
        scratch = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch.write_text(answer, "utf-8")
            scratch.replace(path)
        except OSError as error:
            raise cannot_write(self.root, error) from error

    def _answer(self, question: str) -> Path:
        return self.root / "answers" / f"{sha256_hex(question.encode())}.json"
