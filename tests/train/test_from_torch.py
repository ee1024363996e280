"""A module becomes a file that computes the same, or an error that says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: make test-train")
pytestmark = pytest.mark.train

from fitment_compress.compress import Effort  # noqa: E402 - torch is asked for first
from fitment_compress.errors import RequestError, SamplesError, SourceError  # noqa: E402
from fitment_compress.from_torch import compress_module, export_module  # noqa: E402
from fitment_contract.benchmark import BenchmarkProtocol  # noqa: E402
from fitment_runtime.catalog import find_runtime  # noqa: E402

BRIEF = Effort(
    alone=BenchmarkProtocol(warmup=1, min_seconds=0.0, min_count=3), rounds=2, seconds=0.0
)


class Weighted(torch.nn.Module):
    """Takes two inputs and treats them differently."""

    def forward(self, left: Any, right: Any) -> Any:
        return 3.0 * left - right


class Branching(torch.nn.Module):
    """Decides in Python by a value, which an exporter freezes."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        return x * float(self.calls)


class Counting(torch.nn.Module):
    """Reads the number of samples in Python, which an exporter freezes."""

    def forward(self, x: Any) -> Any:
        return x.reshape(len(x), -1)


class Named(torch.nn.Module):
    """Gives its outputs by name."""

    def forward(self, x: Any) -> Any:
        return {"logits": 2.0 * x}


def classifier() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 3)
    )


def loader(module: Any, count: int, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 8, 8, generator=generator)
    with torch.no_grad():
        labels = module(images).argmax(1)
    dataset = torch.utils.data.TensorDataset(images, labels)
    return torch.utils.data.DataLoader(dataset, batch_size=16)


def test_one_array_given_twice_stays_two_inputs(tmp_path: Path) -> None:
    shared = np.ones((2, 3), np.float32)
    path = export_module(Weighted(), {"left": shared, "right": shared}, tmp_path / "m.onnx")
    session = find_runtime("onnxruntime").load(path)
    left, right = np.full((2, 3), 2, np.float32), np.full((2, 3), 5, np.float32)
    assert np.allclose(session.run({"left": left, "right": right})[0], 1.0)


def test_a_file_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="computes something else"):
        export_module(Branching(), {"x": np.ones((2, 3), np.float32)}, tmp_path / "m.onnx")


@pytest.mark.parametrize("count", [1, 4])
def test_a_file_for_one_number_of_samples_is_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(SourceError, match=r"exported file .* samples.* exporters freeze"):
        export_module(Counting(), {"x": np.ones((count, 3), np.float32)}, tmp_path / "m.onnx")


def test_a_module_that_does_not_run_or_gives_no_tensors_is_named(tmp_path: Path) -> None:
    pixels = np.ones((2, 1, 8, 8), np.uint8)
    with pytest.raises(SourceError, match="does not run on the samples: RuntimeError: Input type"):
        export_module(classifier(), {"x": pixels}, tmp_path / "m.onnx")
    with pytest.raises(SourceError, match=r"gives dict among its outputs\. Wrap it"):
        export_module(Named(), {"x": np.ones((2, 3), np.float32)}, tmp_path / "m.onnx")


def test_a_module_with_loaders_becomes_a_portfolio(tmp_path: Path) -> None:
    module = classifier()
    recipes = tmp_path / "r.yaml"
    recipes.write_text(
        "recipes:\n- name: learnt\n  steps:\n"
        "  - magnitude-prune: {sparsity: 0.5}\n  - recover: {epochs: 1}\n  - int8-static\n"
    )
    made = compress_module(
        module,
        evaluate=loader(module, 80, 1),
        train=loader(module, 160, 2),
        output=tmp_path / "out",
        name="net",
        recipes=recipes,
        effort=BRIEF,
    )
    assert [entry.failure for entry in made.entries] == [None, None]
    assert made.data.training_count == 160
    assert made.data.training_share_labelled == 1.0
    assert made.metric.name == "top1"


def test_batches_that_do_not_fit_the_inputs_are_named(tmp_path: Path) -> None:
    with pytest.raises(SamplesError, match="holds 3 tensors, and the model has 1 inputs"):
        compress_module(
            classifier(),
            evaluate=[[torch.zeros(2, 1, 8, 8)] * 3],
            output=tmp_path / "out",
            name="net",
        )
    with pytest.raises(SamplesError, match="no batch"):
        compress_module(classifier(), evaluate=[], output=tmp_path / "out", name="net")


@pytest.mark.parametrize(
    ("batches", "names", "problem"),
    [
        ([{"left": torch.ones(4, 2), "label": torch.ones(4)}], ("left", "right"), "has no right"),
        ([(torch.ones(4, 2), ["a"] * 4)], ("x",), "holds list where tensors"),
        ([5], ("x",), "holds int where tensors"),
        ([torch.ones(4, 2), torch.ones(4, 3)], ("x",), "do not fit together"),
        ([(torch.ones(4, 2), torch.ones(4)), torch.ones(4, 2)], ("x",), "do not fit together"),
        ([(torch.ones(4, 2), torch.tensor(3))], ("x",), "do not fit together"),
        ([(torch.ones(4, 2), torch.ones(4))], ("label",), "both called 'label'"),
    ],
)
def test_batches_that_do_not_fit_together_are_named(
    tmp_path: Path, batches: Any, names: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(SamplesError, match=problem):
        compress_module(
            Weighted(), evaluate=batches, output=tmp_path / "out", name="net", input_names=names
        )


def test_a_name_that_is_none_is_refused_before_anything_is_exported(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="'a/b' is no name"):
        compress_module(Branching(), evaluate=[], output=tmp_path / "out", name="a/b")
