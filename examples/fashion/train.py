"""Train the fashion model and write every file of this example.

Run from the repository root; training takes some minutes on one core:

    python -m examples.fashion.train
    python -m examples.fashion.train --full-eval full.npz    # only write all 10,000 test images
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from examples.fashion import data
from examples.measure import report
from examples.requirements import MissingRequirementError, require

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

HERE = Path(__file__).parent
CALIBRATION_PER_CLASS = 30
EVALUATION_PER_CLASS = 200
SHIFT = 2


def augment(image: "Tensor", generator: "Generator") -> "Tensor":
    """Mirror half of a batch and shift each picture by up to two pixels."""
    import torch
    from torch.nn.functional import pad

    count, _, height, width = image.shape
    flip = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    image = pad(torch.where(flip, image.flip(3), image), [SHIFT] * 4)
    corner = torch.randint(0, 2 * SHIFT + 1, (2, count, 1), generator=generator)
    rows = corner[0] + torch.arange(height)
    columns = corner[1] + torch.arange(width)
    picture = torch.arange(count)[:, None, None]
    return image[picture, 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)


def write_data(folder: Path, out: Path) -> None:
    """Write the calibration and evaluation files."""
    out.mkdir(parents=True, exist_ok=True)
    images, labels = data.load(folder, "train")
    some = data.first_of_each_class(labels, CALIBRATION_PER_CLASS)
    np.savez_compressed(out / "calibration.npz", image=images[some])
    images, labels = data.load(folder, "t10k")
    some = data.first_of_each_class(labels, EVALUATION_PER_CLASS)
    np.savez_compressed(out / "eval.npz", **data.labelled(images[some], labels[some]))


def train(folder: Path, seed: int) -> "nn.Module":
    """Train a network on all 60,000 training images."""
    import torch

    from examples.fashion.network import build
    from examples.training import Schedule, fit, seed_everything

    images, labels = map(torch.from_numpy, data.load(folder, "train"))
    schedule = Schedule(
        epochs=12, batch=128, peak_rate=0.2, weight_decay=2e-4, label_smoothing=0.0, seed=seed
    )
    seed_everything(seed)
    network = build().to(memory_format=torch.channels_last)  # a third faster on a CPU
    seconds = fit(network, images, labels, schedule, augment)
    print(f"trained in {seconds:.0f} CPU seconds, torch {torch.__version__}")
    return network


def write_model(network: "nn.Module", out: Path) -> None:
    """Write the model and print how far its outputs are from torch's."""
    import torch

    from examples.training import export, largest_difference

    path = out / "model.onnx"
    export(network, torch.rand(2, 1, 28, 28), path, "image")
    with np.load(out / "eval.npz") as arrays:
        difference = largest_difference(network, path, arrays["image"])
    print(f"largest difference between torch and onnxruntime logits: {difference:.2e}")


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the fashion example.")
    parser.add_argument(
        "--data",
        type=Path,
        default=data.DEFAULT_PATH,
        help="folder of the four *-ubyte.gz files (default: %(default)s)",
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write (default: here)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--full-eval",
        type=Path,
        metavar="FILE",
        help="write all 10,000 test images to FILE, labelled, and stop",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Train, export and measure; or only write the full evaluation file."""
    args = parse(argv)
    try:
        if args.full_eval:
            np.savez_compressed(args.full_eval, **data.labelled(*data.load(args.data, "t10k")))
            return
        require("torch", "onnx", "onnxruntime")
        write_data(args.data, args.out)
    except MissingRequirementError as missing:
        sys.exit(str(missing))
    (args.out / "labels.json").write_text(json.dumps(data.NAMES) + "\n")
    write_model(train(args.data, args.seed), args.out)
    print(report(args.out / "model.onnx", args.out / "eval.npz"))


if __name__ == "__main__":
    main()
