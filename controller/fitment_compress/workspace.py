"""Where the files of one run lie until the portfolio is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CandidateFiles:
    """The files of one candidate."""

    folder: Path

    @property
    def model(self) -> Path:
        """The candidate itself."""
        return self.folder / "model.onnx"

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
    def evaluation(self) -> Path:
        """Samples to score on."""
        return self.root / "evaluation.npz"

    @property
    def reference(self) -> Path:
        """The source model's outputs for the evaluation samples."""
        return self.root / "reference.npz"

    def candidate(self, name: str) -> CandidateFiles:
        """The files of the candidate that the recipe `name` makes."""
        folder = self.root / "candidates" / name
        folder.mkdir(parents=True, exist_ok=True)
        return CandidateFiles(folder)
