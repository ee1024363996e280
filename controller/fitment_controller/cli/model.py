"""`fitment model`: portfolios in the registry."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from fitment_controller.cli import options, output
from fitment_controller.cli.failures import UsageError, say
from fitment_controller.cli.output import Format, Item, duration, percent, plain, size
from fitment_controller.client import ApiError, Client, quoted

_PORTFOLIO_FILE = "portfolio.json"
_models = typer.Typer(help="Models and their variants.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.add_typer(_models, name="model")


def push_portfolio(api: Client, folder: Path) -> dict[str, Any]:
    """Pushes the portfolio in `folder`; returns the model version's row.

    Raises:
        UsageError: the folder is not a complete portfolio.
        ApiError: the controller refused it.
    """
    portfolio = _read(folder)
    try:
        return api.post("/v1/models", portfolio)
    except ApiError as error:
        if error.reason != "missing_blobs":
            raise
        _upload(api, folder, error.body["digests"])
    return api.post("/v1/models", portfolio)


@_models.callback()
def _model() -> None:
    """Models and their variants."""


@_models.command("push")
def push(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `fitment compress` wrote.")],
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """Upload a portfolio; only blobs that are missing."""
    document = push_portfolio(options.client(url, token_file, data), folder)
    output.emit(document, format, lambda item: _table({"items": [item]}), name="name")
    name = f"{document['name']}@{document['version']}"
    say(f"{name} is in the registry; next: fitment plan --model {document['name']}")


@_models.command("list")
def list_models(
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """List model versions, newest first."""
    document = options.client(url, token_file, data).get("/v1/models")
    output.emit(document, format, _table, name="name")


@_models.command("get")
def get_model(
    name: Annotated[str, typer.Argument(metavar="NAME[@VERSION]")],
    format: options.Output = Format.TABLE,
    url: options.Url = None,
    token_file: options.TokenFile = None,
    data: options.Data = None,
) -> None:
    """Show every variant with what was measured."""
    model, at, version = name.partition("@")
    if at and not version.isdigit():
        raise UsageError(f"{version!r} is not a version", "write NAME or NAME@1")
    path = quoted(model, version) if version else quoted(model)
    document = options.client(url, token_file, data).get(f"/v1/models{path}")
    output.emit(document, format, _page, name="name")


def _read(folder: Path) -> dict[str, Any]:
    path = folder / _PORTFOLIO_FILE
    try:
        portfolio = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}",
            "name the folder that `fitment compress MODEL.onnx --out DIR` wrote",
        ) from None
    except ValueError:
        raise UsageError(f"{path} is not JSON", "make the portfolio again") from None
    if not isinstance(portfolio, dict):
        raise UsageError(f"{path} is not a portfolio", "make the portfolio again")
    return portfolio


def _upload(api: Client, folder: Path, digests: list[str]) -> None:
    """Sends blobs one after another; what arrived stays there if a later one fails."""
    paths = {digest: folder / "blobs" / digest for digest in digests}
    absent = [digest for digest, path in paths.items() if not path.is_file()]
    if absent:
        raise UsageError(
            f"{folder} lacks the blob {absent[0][:12]} that its {_PORTFOLIO_FILE} names",
            "make the portfolio again",
        )
    total = sum(path.stat().st_size for path in paths.values())
    progress = _Progress(total, len(paths))
    for digest, path in paths.items():
        api.put_blob(digest, path, progress)
    progress.finish()


class _Progress:
    """Upload progress on standard error: one rewritten line on a terminal, one line elsewhere."""

    def __init__(self, total: int, count: int) -> None:
        self._total = total
        self._count = count
        self._done = 0

    def __call__(self, sent: int) -> None:
        self._done += sent
        if sys.stderr.isatty():
            sys.stderr.write(f"\ruploading {size(self._done)} of {size(self._total)} ")
            sys.stderr.flush()

    def finish(self) -> None:
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
        say(f"uploaded {self._count} blobs, {size(self._done)}")


def _table(document: Item) -> list[str]:
    return output.rows(
        [
            ("MODEL", lambda item: item["name"]),
            ("VERSION", lambda item: str(item["version"])),
            ("VARIANTS", lambda item: str(item["variant_count"])),
            ("FAILED", lambda item: str(item["failed_count"])),
            ("METRIC", lambda item: item["metric"]),
            ("BASELINE", lambda item: percent(item["baseline_accuracy"])),
            ("PUSHED", lambda item: output.ago(item["pushed_at"])),
            ("BY", lambda item: item["actor"]),
        ],
        document["items"],
    )


def _page(model: Item) -> Iterator[str]:
    yield (
        f"{model['name']}@{model['version']}: {model['source']['file_name']}, "
        f"measured on {model['build_host']}"
    )
    yield ""
    yield from output.rows(
        [
            ("VARIANT", lambda item: item["name"]),
            ("PRECISION", lambda item: plain(item["precision"])),
            ("FORMAT", lambda item: plain(item["format"])),
            ("ACCURACY", lambda item: percent(item["accuracy"])),
            ("LOSS", lambda item: percent(item["accuracy_loss"])),
            ("P50", lambda item: duration(item["latency_p50_seconds"])),
            ("P95", lambda item: duration(item["latency_p95_seconds"])),
            ("SIZE", lambda item: size(item["size_bytes"])),
            ("PARETO", lambda item: "yes" if item["pareto"] else "-"),
            ("DEVICES", lambda item: str(item["device_count"])),
            ("NOTE", lambda item: plain(item["failure"])),
        ],
        model["variants"],
    )
