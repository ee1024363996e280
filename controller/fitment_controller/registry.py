"""A portfolio folder to what headquarters needs of it: the record, and every file it names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from fitment_contract.artifact import Artifact
from fitment_contract.portfolio import PORTFOLIO_FILE, Portfolio
from fitment_controller.blobs import BlobStore
from fitment_controller.errors import BlobError, PortfolioError

MAX_PORTFOLIO_BYTES = 16 * 1024 * 1024


def read_portfolio(folder: Path) -> Portfolio:
    """The record of the portfolio in `folder`.

    Raises:
        PortfolioError: it is missing, too large, damaged or contradicts itself.
    """
    path = folder / PORTFOLIO_FILE
    try:
        if path.stat().st_size > MAX_PORTFOLIO_BYTES:
            raise PortfolioError(f"{path} is larger than {MAX_PORTFOLIO_BYTES} bytes")
        portfolio = Portfolio.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise PortfolioError(
            f"{folder} holds no {PORTFOLIO_FILE}", "Make one with `fitment compress MODEL.onnx`"
        ) from None
    except OSError as error:
        raise PortfolioError(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in fault["loc"])
        raise PortfolioError(
            f"{path} is not a portfolio: {where}: {fault['msg']}", "Run `fitment compress` again"
        ) from None
    check_portfolio(portfolio)
    return portfolio


def check_portfolio(portfolio: Portfolio) -> None:
    """Refuse a portfolio that no rollout could use.

    Raises:
        PortfolioError: nothing is listed, the baseline is missing or unmeasured, names repeat, or
            a listed entry lacks its variant.
    """
    listed = portfolio.listed()
    names = [entry.name for entry in listed]
    if len(set(names)) != len(names):
        raise PortfolioError("two listed entries have the same name", "Name every recipe apart")
    for entry in listed:
        if entry.variant is None or entry.benchmark is None:
            raise PortfolioError(f"{entry.name} is listed without its variant or its benchmark")
        if entry.variant.name != entry.name or entry.variant.model != portfolio.model:
            raise PortfolioError(f"{entry.name} holds the variant of something else")
    if portfolio.baseline not in names:
        raise PortfolioError(
            f"the baseline {portfolio.baseline!r} is not listed", "Run `fitment compress` again"
        )


def artifacts_of(portfolio: Portfolio) -> tuple[Artifact, ...]:
    """Every file that devices may be told to fetch, each once, by digest.

    An encoding of a file is a file too, of its own digest and size.
    """
    named = [portfolio.evaluation]
    for entry in portfolio.listed():
        if entry.variant is not None:
            golden = entry.variant.golden
            named += [entry.variant.artifact, golden.artifact if golden else None]
    found: dict[str, Artifact] = {}
    for artifact in named:
        if artifact is None:
            continue
        found[artifact.digest] = artifact
        for encoding in artifact.encodings:
            encoded = Artifact(digest=encoding.digest, size_bytes=encoding.size_bytes)
            found.setdefault(encoding.digest, encoded)
    return tuple(found[digest] for digest in sorted(found))


def blob_path(folder: Path, artifact: Artifact) -> Path:
    """Where a portfolio folder keeps one of its files."""
    return folder / "blobs" / artifact.digest


def missing_from(blobs: BlobStore, artifacts: Iterable[Artifact]) -> tuple[str, ...]:
    """The digests that headquarters does not hold yet, in order."""
    return tuple(artifact.digest for artifact in artifacts if not blobs.has(artifact.digest))


def import_blobs(folder: Path, blobs: BlobStore) -> Portfolio:
    """Copy every file of the portfolio in `folder` into `blobs`, verified.

    Raises:
        PortfolioError: the record or one of its files is missing or damaged.
    """
    portfolio = read_portfolio(folder)
    for artifact in artifacts_of(portfolio):
        path = blob_path(folder, artifact)
        try:
            with path.open("rb") as stream:
                blobs.put(stream, artifact.digest, artifact.size_bytes)
        except OSError as error:
            raise PortfolioError(
                f"{path} cannot be read: {error.strerror}", "Run `fitment compress` again"
            ) from None
        except BlobError as error:
            raise PortfolioError(
                f"{path} is damaged: {error.fault}", "Run `fitment compress` again"
            ) from None
    return portfolio


def numbered(portfolio: Portfolio, version: int) -> Portfolio:
    """The portfolio as version `version`, its variants included."""
    entries = tuple(
        entry.model_copy(
            update={"variant": entry.variant.model_copy(update={"model_version": version})}
        )
        if entry.variant
        else entry
        for entry in portfolio.entries
    )
    return portfolio.model_copy(update={"model_version": version, "entries": entries})
