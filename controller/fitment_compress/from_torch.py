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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fitment_compress.compress import FULL, CompressRequest, Effort, compress, require_name
from fitment_compress.data import save_dataset
from fitment_compress.errors import SamplesError, SourceError
from fitment_compress.progress import Progress
from fitment_contract.portfolio import Portfolio
from fitment_runtime.dataset import LABEL, Dataset

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPSET: Final = 17
"""Old enough for the runtimes of old devices."""

TOLERANCE: Final = 1e-4
"""Largest difference between module and file, relative to the largest magnitude of an output."""

COMPARED_SAMPLES: Final = 16

FROZEN_FIX: Final = (
    "Look for what depends on values or shapes in Python, such as len(x): exporters freeze it."
)

Batches = Iterable[Any]
"""A data loader: batches are a tensor, a tuple of tensors with the labels last, or a mapping from
the names of the inputs, and `label`, to tensors."""


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
        RequestError: the name is no name.
        CompressError: see `fitment_compress.compress.compress`.
    """
    require_name(name)
    scored = _collected(evaluate, input_names, "evaluate")
    learnt = None if train is None else _collected(train, input_names, "train")
    with tempfile.TemporaryDirectory(prefix="fitment-export-") as scratch:
        folder = Path(scratch)
        evaluated, trained = folder / "evaluate.npz", folder / "train.npz"
        save_dataset(evaluated, scored, packed=False)
        if learnt is not None:
            save_dataset(trained, learnt, packed=False)
        first = {key: values[:COMPARED_SAMPLES] for key, values in scored.inputs.items()}
        return compress(
            CompressRequest(
                model=export_module(module, first, folder / f"{name}.onnx"),
                data=evaluated,
                training=None if learnt is None else trained,
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
    import numpy as np
    import torch

    module.eval()
    expected = _outputs(module, samples)
    arguments = _arguments(samples)
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
    # Another number of samples than the exporter saw: what it froze shows.
    count = 1 if len(next(iter(samples.values()))) > 1 else 2
    other = {key: np.resize(values, (count, *values.shape[1:])) for key, values in samples.items()}
    _prove(path, other, _outputs(module, other))
    return path


def _arguments(samples: Mapping[str, NDArray[Any]]) -> tuple[Any, ...]:
    import torch

    return tuple(torch.from_numpy(values.copy()) for values in samples.values())


def _outputs(module: Any, samples: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """What the module gives.

    Raises:
        SourceError: it fails on these samples, or gives something else than tensors.
    """
    import torch

    try:
        with torch.no_grad():
            outputs = module(*_arguments(samples))
    except Exception as error:  # a module is anybody's code
        raise SourceError(
            f"The module does not run on the samples: {type(error).__name__}: {_first_line(error)}",
            "Move it to the CPU, and give one tensor per argument, of the types that it takes.",
        ) from error
    flat = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    strange = [type(each).__name__ for each in flat if not isinstance(each, torch.Tensor)]
    if strange:
        raise SourceError(
            f"The module gives {', '.join(strange)} among its outputs.",
            "Wrap it in a module that gives one tensor or a tuple of tensors.",
        )
    return [tensor.numpy() for tensor in flat]


def _prove(
    path: Path, samples: Mapping[str, NDArray[Any]], expected: Sequence[NDArray[Any]]
) -> None:
    from fitment_compress.clean import difference
    from fitment_runtime.catalog import find_runtime
    from fitment_runtime.errors import RuntimeFailure

    count = len(next(iter(samples.values())))
    try:
        found = find_runtime("onnxruntime").load(path).run(samples)
    except RuntimeFailure as error:
        raise SourceError(
            f"The exported file does not run on {count} samples at once: {error.detail}.",
            FROZEN_FIX,
        ) from error
    changed = difference(expected, found)
    if not changed <= TOLERANCE:
        raise SourceError(
            f"The exported file computes something else than the module: on {count} samples, "
            f"outputs differ by {changed:.2g} of their largest value.",
            FROZEN_FIX,
        )


def _collected(batches: Batches, names: Sequence[str], argument: str) -> Dataset:
    import numpy as np

    parts = [_parts(batch, names, argument) for batch in batches]
    if not parts:
        raise SamplesError(f"The loader {argument!r} gives no batch.", "Give at least one sample.")
    try:
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    except ValueError as error:
        raise SamplesError(
            f"The batches of {argument!r} do not fit together: {error}.",
            "Give labels in all batches or in none, and tensors that differ in their first axis "
            "only, which counts the samples.",
        ) from error
    label = columns[len(names)] if len(columns) > len(names) else None
    if label is not None and LABEL in names:
        raise SamplesError(
            f"The labels of {argument!r} and an input are both called {LABEL!r}.",
            "Choose another name for the input in input_names.",
        )
    return Dataset(dict(zip(names, columns, strict=False)), label, None)


def _parts(batch: Any, names: Sequence[str], argument: str) -> list[NDArray[Any]]:
    """The arrays of one batch: one per input, and the labels when there are any."""
    import torch

    if isinstance(batch, Mapping):
        missing = [name for name in names if name not in batch]
        if missing:
            raise SamplesError(
                f"A batch of {argument!r} has no {', '.join(missing)}; it has "
                f"{', '.join(map(str, batch))}.",
                "Name the inputs in input_names as the batches do, in the module's order.",
            )
        tensors = [batch[key] for key in dict.fromkeys((*names, LABEL)) if key in batch]
    else:
        tensors = list(batch) if isinstance(batch, (tuple, list)) else [batch]
    strange = [type(each).__name__ for each in tensors if not isinstance(each, torch.Tensor)]
    if strange:
        raise SamplesError(
            f"A batch of {argument!r} holds {', '.join(strange)} where tensors are expected.",
            "Give batches of tensors, as torch.utils.data.DataLoader makes them.",
        )
    if not len(names) <= len(tensors) <= len(names) + 1:
        raise SamplesError(
            f"A batch of {argument!r} holds {len(tensors)} tensors, and the model has "
            f"{len(names)} inputs ({', '.join(names)}).",
            "Give one tensor per input, then optionally the labels; name inputs in input_names.",
        )
    return [tensor.detach().cpu().numpy() for tensor in tensors]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
