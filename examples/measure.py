"""Measure an example's model on labelled data with onnxruntime; needs no torch.

Run from the repository root:

    python -m examples.measure examples/activity
    python -m examples.measure examples/fashion --data full.npz
"""

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.requirements import MissingRequirementError, require


@dataclass(frozen=True)
class Score:
    """Accuracy over some samples, with its binomial standard error; both in percent."""

    name: str
    samples: int
    accuracy: float

    @property
    def standard_error(self) -> float:
        """One standard deviation of the accuracy, were the samples independent draws."""
        share = self.accuracy / 100
        return 100 * math.sqrt(share * (1 - share) / self.samples)

    def __str__(self) -> str:
        """Format one line of the report."""
        return (
            f"{self.name:<14} {self.samples:>6} samples  "
            f"{self.accuracy:6.2f} % ± {self.standard_error:.2f}"
        )


def predict(model: Path, inputs: Any, batch: int = 256) -> Any:
    """Return the model's first output for all inputs, computed on one thread."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    chunks = range(0, len(inputs), batch)
    return np.concatenate([session.run(None, {name: inputs[i : i + batch]})[0] for i in chunks])


@dataclass(frozen=True)
class Outcomes:
    """Which samples of an evaluation file the model got right."""

    hits: Any  #: bool per sample
    label: Any  #: class number per sample
    part: Any  #: slice name per sample
    names: list[str]  #: class names in order

    def scores(self) -> list[Score]:
        """Score all samples, then every class, then every slice that is not a class."""
        import numpy as np

        groups = {"overall": np.ones(len(self.hits), dtype=bool)}
        groups |= {self.names[k]: self.label == k for k in np.unique(self.label)}
        parts = sorted(map(str, np.unique(self.part)), key=lambda name: (len(name), name))
        groups |= {name: self.part == name for name in parts}
        return [
            Score(name, int(chosen.sum()), float(100 * self.hits[chosen].mean()))
            for name, chosen in groups.items()
        ]

    def clustered_error(self) -> float:
        """Return the standard error, in percent, if samples of one slice and class go together.

        Windows cut from one recording are alike, so the binomial error is too hopeful for them.
        """
        import numpy as np

        surplus = self.hits - self.hits.mean()
        pairs = np.char.add(self.part, self.label.astype(str))
        sums = np.array([surplus[pairs == pair].sum() for pair in np.unique(pairs)])
        return float(100 * np.sqrt((sums**2).sum()) / len(surplus))


def outcomes(model: Path, data: Path) -> Outcomes:
    """Run the model on a labelled file; class names come from labels.json beside the model."""
    import numpy as np
    import onnx

    names = json.loads((model.parent / "labels.json").read_text())
    name = onnx.load(model).graph.input[0].name
    with np.load(data, allow_pickle=False) as arrays:
        hits = predict(model, arrays[name]).argmax(axis=1) == arrays["label"]
        return Outcomes(hits, arrays["label"], arrays["slice"], names)


def parameters_and_macs(model: Path) -> tuple[int, int]:
    """Count stored weights, and the multiply-accumulates of one sample in Conv and Gemm nodes."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load(model)).graph
    weights = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    shapes = {
        value.name: [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        for value in [*graph.value_info, *graph.output]
    }
    channels = {tensor.name: tensor.dims[0] for tensor in graph.initializer}
    macs = 0
    for node in graph.node:
        if node.op_type == "Conv":
            kernel = weights[node.input[1]] // channels[node.input[1]]
            macs += kernel * math.prod(shapes[node.output[0]])
        elif node.op_type == "Gemm":
            macs += weights[node.input[1]]
    return sum(weights.values()), macs


def report(model: Path, data: Path) -> str:
    """Write the facts that a model card quotes, as plain lines."""
    parameters, macs = parameters_and_macs(model)
    result = outcomes(model, data)
    lines = [
        f"{model.stat().st_size:,} bytes, {parameters:,} parameters, {macs:,} MACs per sample",
        *map(str, result.scores()),
    ]
    if set(map(str, result.part)) - set(result.names):
        lines.append(
            f"standard error over slice and class together: {result.clustered_error():.2f}"
        )
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Measure the example folder named on the command line."""
    parser = argparse.ArgumentParser(description="Measure an example's model with onnxruntime.")
    parser.add_argument("folder", type=Path, help="an example's folder, holding model.onnx")
    parser.add_argument("--data", type=Path, help="labelled .npz file (default: its eval.npz)")
    args = parser.parse_args(argv)
    try:
        require("numpy", "onnx", "onnxruntime")
    except MissingRequirementError as missing:
        sys.exit(str(missing))
    print(report(args.folder / "model.onnx", args.data or args.folder / "eval.npz"))


if __name__ == "__main__":
    main()
