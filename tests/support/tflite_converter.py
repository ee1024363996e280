"""The real converter where it is installed, and stand-ins that misbehave as programs do."""

from __future__ import annotations

import json
import textwrap
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from fitment_compress.converter import environment
from support.runtime_models import constant, save

needs_converter = pytest.mark.skipif(
    not environment.status().installed, reason="needs the converter: fitment converter install"
)

Feed = dict[str, NDArray[Any]]


def pretend_installed(folder: Path, requirements: str | None = None) -> Path:
    """Mark `folder` as a converter, as an installation would."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = environment._digest() if requirements is None else requirements
    marker = {"requirements": digest, "python": "3.12"}
    (folder / environment.MARKER).write_text(json.dumps(marker))
    (folder / "bin").mkdir(exist_ok=True)
    if not (folder / "bin" / "python").exists():
        (folder / "bin" / "python").touch()
    return folder


def misbehaving(folder: Path, body: str) -> Path:
    """A converter's environment in which `onnx2tf.convert` has the given body."""
    venv.create(folder, symlinks=True, with_pip=False)
    pretend_installed(folder)
    site = next((folder / "lib").glob("python*")) / "site-packages"
    lines = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    head = "def convert(input_onnx_file_path, output_folder_path, **_):"
    (site / "onnx2tf.py").write_text(f"import os, sys, socket, time\n\n{head}\n{lines}\n")
    return folder


def random_feeds(shapes: dict[str, Sequence[int]], count: int = 8) -> list[Feed]:
    """Standard normal samples of the given shapes."""
    generator = np.random.default_rng(11)
    return [
        {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        for _ in range(count)
    ]


def save_awkward(path: Path) -> Path:
    """Names with colons, slashes and blanks; `map:0` (n, 4, 5, 3) is an image among the outputs.

    `in:a/0` (n, 2, 5, 3) has three axes of which none can be told from channels by its length.
    """
    weights = np.random.default_rng(5).normal(size=(4, 2, 3, 3)).astype(np.float32)
    return save(
        path,
        [
            helper.make_node("Conv", ["in:a/0", "k"], ["map:0"], pads=[1, 1, 1, 1]),
            helper.make_node("GlobalAveragePool", ["map:0"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat out"]),
            helper.make_node("Mul", ["flat out", "b b"], ["a.out"]),
        ],
        [("in:a/0", "float32", ["n", 2, 5, 3]), ("b b", "float32", ["n", 4])],
        [
            ("map:0", "float32", ["n", 4, 5, 3]),
            ("a.out", "float32", ["n", 4]),
            ("flat out", "float32", ["n", 4]),
        ],
        [constant("k", weights)],
    )


def save_padded_pools(path: Path, activation: str = "Relu") -> Path:
    """`x` (n, 2, 9, 7) to `y` (n, 4, 5, 4): an activation, then an unevenly padded max-pooling."""
    return save(
        path,
        [
            helper.make_node("Conv", ["x", "k"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node(activation, ["c"], ["a"]),
            helper.make_node(
                "MaxPool", ["a"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 1, 2]
            ),
        ],
        [("x", "float32", ["n", 2, 9, 7])],
        [("y", "float32", ["n", 4, 5, 4])],
        [constant("k", np.random.default_rng(6).normal(size=(4, 2, 3, 3)).astype(np.float32))],
    )
