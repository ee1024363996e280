"""Train the activity model and write every file of this example.

Run from the repository root; it takes well under a minute on one core:

    python -m examples.activity.train
    python -m examples.activity.train --out other-seed --seed 1
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from examples.activity import data
from examples.measure import report
from examples.requirements import MissingRequirementError, require

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

HERE = Path(__file__).parent
TRAINING_STRIDE = 24
EVALUATION_STRIDE = 48
DEVICE_STRIDE = 64
CALIBRATION_WINDOWS_PER_RECORDING = 3


def augment(window: "Tensor", generator: "Generator") -> "Tensor":
    """Vary a batch as other wearers would: other arm, looser strap, stronger or slower movement."""
    import torch
    from torch.nn.functional import interpolate

    count = len(window)
    # The other arm is a mirror image: positions flip in x, rotations in y and z.
    mirror = torch.tensor([-1.0, 1, 1, 1, -1, -1])
    flip = torch.rand(count, 1, generator=generator) < 0.5
    window = window * torch.where(flip, mirror, 1.0)[:, :, None]
    turn = rotations(0.3 * torch.randn(count, 3, generator=generator))
    window = torch.cat([turn @ window[:, :3], turn @ window[:, 3:]], dim=1)
    window = window * (1 + 0.1 * torch.randn(count, 6, 1, generator=generator))
    window = window + 0.05 * torch.randn(window.shape, generator=generator)
    kept = int(torch.randint(90, data.LENGTH + 1, (), generator=generator))
    start = int(torch.randint(0, data.LENGTH - kept + 1, (), generator=generator))
    part = window[:, :, start : start + kept]
    return interpolate(part, size=data.LENGTH, mode="linear", align_corners=False)


def rotations(vectors: "Tensor") -> "Tensor":
    """Turn [N, 3] rotation vectors, in radians, into [N, 3, 3] rotation matrices."""
    import torch

    x, y, z = vectors.unbind(dim=1)
    zero = torch.zeros_like(x)
    rows = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1)
    return torch.matrix_exp(rows.reshape(-1, 3, 3))


def write_data(recordings: list[data.Recording], out: Path) -> None:
    """Write the calibration, evaluation and per-subject files."""
    training = [r for r in recordings if r.subject in data.TRAINING_SUBJECTS]
    unseen = [r for r in recordings if r.subject in data.UNSEEN_SUBJECTS]
    (out / "subjects").mkdir(parents=True, exist_ok=True)
    some = [pick_windows(r, CALIBRATION_WINDOWS_PER_RECORDING) for r in training]
    np.savez_compressed(out / "calibration.npz", window=np.concatenate(some))
    shared = data.windows([r for r in unseen if not r.held_by_device], EVALUATION_STRIDE)
    np.savez_compressed(out / "eval.npz", **shared)
    for subject in data.UNSEEN_SUBJECTS:
        own = [r for r in unseen if r.held_by_device and r.subject == subject]
        path = out / "subjects" / f"subject-{subject}.npz"
        np.savez_compressed(path, **data.windows(own, DEVICE_STRIDE))


def pick_windows(recording: data.Recording, count: int) -> np.ndarray:
    """Take windows spread evenly over one recording."""
    last = recording.signal.shape[1] - data.LENGTH
    starts = np.linspace(0, last, count).astype(int)
    return np.stack([recording.signal[:, start : start + data.LENGTH] for start in starts])


def train(recordings: list[data.Recording], seed: int) -> "nn.Module":
    """Train a network on all windows of the training subjects."""
    import torch

    from examples.activity.network import build
    from examples.training import Schedule, fit, seed_everything

    training = [r for r in recordings if r.subject in data.TRAINING_SUBJECTS]
    cut = data.windows(training, TRAINING_STRIDE)
    inputs, labels = torch.from_numpy(cut["window"]), torch.from_numpy(cut["label"])
    schedule = Schedule(
        epochs=16, batch=64, peak_rate=0.1, weight_decay=5e-4, label_smoothing=0.1, seed=seed
    )
    seed_everything(seed)
    network = build()
    print(f"training on {len(inputs)} windows of subjects 1 to 6")
    seconds = fit(network, inputs, labels, schedule, augment)
    print(f"trained in {seconds:.0f} CPU seconds, torch {torch.__version__}")
    return network


def write_model(network: "nn.Module", out: Path) -> None:
    """Write the model and print how far its outputs are from torch's."""
    import torch

    from examples.training import export, largest_difference

    path = out / "model.onnx"
    export(network, torch.randn(2, 6, data.LENGTH), path, "window")
    with np.load(out / "eval.npz") as arrays:
        difference = largest_difference(network, path, arrays["window"])
    print(f"largest difference between torch and onnxruntime logits: {difference:.2e}")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the activity example.")
    parser.add_argument("--data", type=Path, help="watch_dataset.npy (default: from seglearn)")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write (default: here)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Train, export and measure."""
    args = parse(argv)
    try:
        require("torch", "onnx", "onnxruntime")
        recordings, names = data.load(args.data or data.default_path())
    except MissingRequirementError as missing:
        sys.exit(str(missing))
    write_data(recordings, args.out)
    (args.out / "labels.json").write_text(json.dumps(names) + "\n")
    write_model(train(recordings, args.seed), args.out)
    for path in [args.out / "eval.npz", *sorted((args.out / "subjects").iterdir())]:
        print(f"\n{path.name}\n{report(args.out / 'model.onnx', path)}")


if __name__ == "__main__":
    main()
