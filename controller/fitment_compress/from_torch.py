"""From a PyTorch module and its data loaders: an ONNX file that is proved equal, and npz files.

    from fitment_compress.from_torch import compress_module

    portfolio = compress_module(
        network, train=train_loader, evaluate=test_loader, output=Path("net.portfolio"), name="net"
    )

The module is exported once and compared with the file; everything after that works on the file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fitment_compress.compress import FULL, CompressRequest, Effort, compress
from fitment_compress.errors import SamplesError, SourceError
from fitment_compress.progress import Progress
from fitment_contract.portfolio import Portfolio

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPSET: Final = 17
"""Old enough for the runtimes of old devices."""

TOLERANCE: Final = 1e-4
"""Largest difference between module and file, relative to the largest magnitude of an output."""

COMPARED_SAMPLES: Final = 16

Batches = Iterable[Any]
"""A data loader: batches are a tensor, a tuple of tensors with the labels last, or a mapping."""


@dataclass(frozen=True)
class _Samples:
    """What a loader gave, in one array per input."""

    inputs: Mapping[str, NDArray[Any]]
    label: NDArray[Any] | None

    def save(self, path: Path) -> Path:
        import numpy as np

        arrays = dict(self.inputs)
        if self.label is not None:
            arrays["label"] = self.label
        np.savez(path, **arrays)  # type: ignore[arg-type]  # its stub names a keyword
        return path


def compress_module(
    module: Any,
    *,
    evaluate: Batches,
    output: Path,
    name: str,
    train: Batches | None = None,
    input_names: Sequence[str] = ("input",),
    recipes: Path | None = None,
    effort: Effort = FULL,
    progress: Progress | None = None,
) -> Portfolio:
    """Export a module, and compress the file with its own data.

    Args:
        module: a `torch.nn.Module`; it is put into evaluation mode.
        evaluate: batches to score on. With one more tensor than the model has inputs, the last
            one is the labels.
        output: the portfolio folder.
        name: what applications ask for.
        train: batches to learn from and to calibrate with, never scored on.
        input_names: of the module's arguments, in order.
        recipes: a YAML file in place of the default recipes.
        effort: how long latency is measured.
        progress: who wants to know how far it is.

    Raises:
        SourceError: the module cannot be exported, or the file computes something else.
        SamplesError: a loader gives something else than tensors that fit together.
        CompressError: see `fitment_compress.compress.compress`.
    """
    scored = _collected(evaluate, input_names, "evaluate")
    learnt = None if train is None else _collected(train, input_names, "train")
    with tempfile.TemporaryDirectory(prefix="fitment-export-") as scratch:
        folder = Path(scratch)
        first = {key: values[:COMPARED_SAMPLES] for key, values in scored.inputs.items()}
        return compress(
            CompressRequest(
                model=export_module(module, first, folder / f"{name}.onnx"),
                data=scored.save(folder / "evaluate.npz"),
                training=None if learnt is None else learnt.save(folder / "train.npz"),
                output=output,
                name=name,
                recipes=recipes,
                effort=effort,
            ),
            progress,
        )


def export_module(module: Any, samples: Mapping[str, NDArray[Any]], path: Path) -> Path:
    """Write a module as an ONNX file with a free batch axis, and prove that it computes the same.

    Every sample array is copied into a tensor of its own: given one tensor twice, the exporter
    takes two inputs for one, without an error, and the file computes something else.

    Args:
        module: a `torch.nn.Module`; it is put into evaluation mode.
        samples: one array per argument, in order, the batch axis first; at least one sample.
        path: of the file.

    Raises:
        SourceError: the export failed, or the file computes something else than the module.
    """
    import torch

    arguments = tuple(torch.from_numpy(values.copy()) for values in samples.values())
    module.eval()
    with torch.no_grad():
        expected = [tensor.numpy() for tensor in _flat(module(*arguments))]
    names = [f"output{index}" for index in range(len(expected))]
    axes = {key: {0: "batch"} for key in (*samples, *names)}
    try:
        torch.onnx.export(
            module,
            arguments,
            str(path),
            input_names=list(samples),
            output_names=names,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    except Exception as error:  # the exporter fails in as many ways as there are operators
        raise SourceError(
            f"The module cannot be exported: {type(error).__name__}: {_first_line(error)}",
            "Export it yourself, and compress the ONNX file.",
        ) from error
    _prove(path, samples, expected)
    return path


def _prove(
    path: Path, samples: Mapping[str, NDArray[Any]], expected: Sequence[NDArray[Any]]
) -> None:
    from fitment_compress.clean import difference
    from fitment_runtime.catalog import find_runtime
    from fitment_runtime.errors import RuntimeFailure

    try:
        found = find_runtime("onnxruntime").load(path).run(samples)
    except RuntimeFailure as error:
        raise SourceError(
            f"The exported file does not run: {error.detail}", "Compress an ONNX file that does."
        ) from error
    changed = difference(expected, found)
    if changed > TOLERANCE:
        raise SourceError(
            f"The exported file computes something else than the module: outputs differ by "
            f"{changed:.2g} of their largest value.",
            "Look for what depends on values or shapes in Python, which exporters freeze.",
        )


def _collected(batches: Batches, names: Sequence[str], argument: str) -> _Samples:
    import numpy as np

    parts = [_parts(batch, names, argument) for batch in batches]
    if not parts:
        raise SamplesError(f"The loader {argument!r} gives no batch.", "Give at least one sample.")
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    label = columns[len(names)] if len(columns) > len(names) else None
    return _Samples(dict(zip(names, columns, strict=False)), label)


def _parts(batch: Any, names: Sequence[str], argument: str) -> list[NDArray[Any]]:
    """The arrays of one batch: one per input, and the labels when there are any."""
    import torch

    if isinstance(batch, torch.Tensor):
        tensors = [batch]
    elif isinstance(batch, Mapping):
        tensors = [batch[key] for key in (*names, "label") if key in batch]
    else:
        tensors = list(batch)
    if not len(names) <= len(tensors) <= len(names) + 1:
        raise SamplesError(
            f"A batch of {argument!r} holds {len(tensors)} tensors, and the model has "
            f"{len(names)} inputs ({', '.join(names)}).",
            "Give one tensor per input, then optionally the labels; name inputs in input_names.",
        )
    return [tensor.detach().cpu().numpy() for tensor in tensors]


def _flat(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
