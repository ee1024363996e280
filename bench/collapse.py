"""A model that 8 bits destroy, and what equalising its channels saves.

    python bench/collapse.py [--spread 2]

The channels of the fashion model are scaled by powers of ten between 10^-SPREAD and 10^SPREAD, each
layer undoing what the one before it did, so that in floating point it computes the same. Then
`fitment compress` makes it int8 with and without `equalise`, per tensor and per channel, and scores
every file on all 10,000 test images. Needs the Debian package dataset-fashion-mnist.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]  # examples and test models are not installed

from examples.fashion import data as fashion  # noqa: E402

from fitment_compress.compress import QUICK, CompressRequest, compress  # noqa: E402
from fitment_compress.progress import Lines  # noqa: E402
from fitment_compress.report import print_portfolio  # noqa: E402
from support.quantisation_models import unbalance  # noqa: E402

EXAMPLE = ROOT / "examples" / "fashion"
RECIPES = """recipes:
- {name: per-tensor, steps: [int8-static: {per_channel: false}]}
- {name: per-channel, steps: [int8-static]}
- {name: equalised-per-tensor, steps: [equalise, int8-static: {per_channel: false}]}
- {name: equalised-per-channel, steps: [equalise, int8-static]}
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Make, measure and print."""
    parser = argparse.ArgumentParser(description="Collapse under 8 bits, and rescue.")
    parser.add_argument("--data", type=Path, default=fashion.DEFAULT_PATH)
    parser.add_argument("--spread", type=float, default=2.0, help="powers of ten, either way")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        images, labels = fashion.load(options.data, "t10k")
        np.savez(folder / "test.npz", **fashion.labelled(images, labels))
        (folder / "recipes.yaml").write_text(RECIPES)
        portfolio = compress(
            CompressRequest(
                model=unbalance(folder / "m.onnx", EXAMPLE / "model.onnx", options.spread),
                data=folder / "test.npz",
                calibration=EXAMPLE / "calibration.npz",
                recipes=folder / "recipes.yaml",
                output=folder / "portfolio",
                name="collapse",
                effort=QUICK,
            ),
            Lines(sys.stderr),
        )
        print_portfolio(portfolio, sys.stdout)


if __name__ == "__main__":
    main()
