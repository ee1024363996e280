"""Read Fashion-MNIST from Debian's package and turn pixels into model inputs."""

import gzip
from pathlib import Path

import numpy as np

from examples.requirements import MissingRequirementError

DEFAULT_PATH = Path("/usr/share/datasets/fashion-mnist")
NAMES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
SCALE = 256.0  #: image = pixel / 256, exact in float32; black stays 0, like the padding


def load(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the split "train" or "t10k": images [N, 1, 28, 28] in [0, 1), and class numbers."""
    images = read_idx(folder / f"{split}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{split}-labels-idx1-ubyte.gz")
    return (images[:, None] / np.float32(SCALE)).astype(np.float32), labels.astype(np.int64)


def read_idx(path: Path) -> np.ndarray:
    """Read one gzipped IDX file of bytes."""
    if not path.is_file():
        raise MissingRequirementError("dataset-fashion-mnist", f"There is no data file at {path}.")
    raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    shape = np.frombuffer(raw, dtype=">u4", count=rank, offset=4)
    return np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * rank).reshape(shape)


def first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the positions of the first samples of every class, in file order."""
    chosen = [np.flatnonzero(labels == k)[:count] for k in range(len(NAMES))]
    return np.sort(np.concatenate(chosen))


def labelled(images: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Name the arrays of an evaluation file; a slice is a class here."""
    return {"image": images, "label": labels, "slice": np.array(NAMES)[labels]}
