"""Runs a graph on calibration samples and looks into its middle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fitment_compress.structure.graphs import tapped

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto

Feeds = Sequence[Mapping[str, "NDArray[Any]"]]


def spread(feeds: Feeds, limit: int) -> Feeds:
    """At most `limit` feeds from the whole length: data files are often sorted."""
    step = max(1.0, len(feeds) / limit)
    return [feeds[int(index * step)] for index in range(min(limit, len(feeds)))]


def look(
    model: ModelProto, names: Sequence[str], feeds: Feeds
) -> Iterator[dict[str, NDArray[Any]]]:
    """The tensors `names` for each feed, on one thread.

    Args:
        model: not changed.
        names: of the main graph, at least one.
        feeds: one array per input of the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        tapped(model, names).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    for feed in feeds:
        yield dict(zip(names, session.run(list(names), dict(feed)), strict=True))
