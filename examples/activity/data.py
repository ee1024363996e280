"""Read the smartwatch recordings, cut them into windows, and split them by recording."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from examples.requirements import MissingRequirementError

LENGTH = 128  #: samples per window: 2.56 s at 50 Hz
GRID = 256.0  #: sensor values are rounded to 1/256, in g and rad/s
TRAINING_SUBJECTS = range(1, 7)
UNSEEN_SUBJECTS = range(7, 11)


@dataclass(frozen=True)
class Recording:
    """One subject doing one exercise with one arm."""

    subject: int
    exercise: int
    side: int
    signal: np.ndarray  #: [6, samples]: acceleration x, y, z in g, then rotation in rad/s

    @property
    def held_by_device(self) -> bool:
        """Of the two recordings of an exercise, whether this is the one left to the subject.

        The arm alternates with subject and exercise, so that either half has every exercise and
        about as many left as right arms.
        """
        return (self.subject + self.exercise + self.side) % 2 == 1


def default_path() -> Path:
    """Find the data file inside the installed seglearn package, without importing it."""
    spec = find_spec("seglearn")
    if spec is None or spec.origin is None:
        raise MissingRequirementError("seglearn", "The data ships in the package 'seglearn'.")
    return Path(spec.origin).parent / "data" / "watch_dataset.npy"


def load(path: Path) -> tuple[list[Recording], list[str]]:
    """Read all recordings and the names of the exercises.

    The file is a pickled object array, so only read one that you trust.
    """
    if not path.is_file():
        raise MissingRequirementError("seglearn", f"There is no data file at {path}.")
    raw = np.load(path, allow_pickle=True).item()
    rows = zip(raw["subject"], raw["y"], raw["side"], raw["X"], strict=True)
    recordings = [
        Recording(int(subject), int(exercise), int(side), rounded(signal.T))
        for subject, exercise, side, signal in rows
    ]
    return recordings, [str(name) for name in raw["y_labels"]]


def rounded(signal: np.ndarray) -> np.ndarray:
    """Put values on the grid: finer than the sensor's noise, and it compresses three-fold."""
    return (np.round(signal * GRID) / GRID).astype(np.float32)


def windows(recordings: list[Recording], stride: int) -> dict[str, np.ndarray]:
    """Cut recordings into windows, with a label and a slice name for each."""
    starts = [
        (recording, start)
        for recording in recordings
        for start in range(0, recording.signal.shape[1] - LENGTH + 1, stride)
    ]
    return {
        "window": np.stack([r.signal[:, start : start + LENGTH] for r, start in starts]),
        "label": np.array([r.exercise for r, _ in starts], dtype=np.int64),
        "slice": np.array([f"subject-{r.subject}" for r, _ in starts]),
    }
