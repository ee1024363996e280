"""A portfolio folder: every file arrives, and whatever is wrong with it is named."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from fitment_contract.portfolio import PORTFOLIO_FILE, Portfolio
from fitment_controller.blobs import BlobStore
from fitment_controller.errors import PortfolioError
from fitment_controller.registry import (
    artifacts_of,
    check_portfolio,
    import_blobs,
    missing_from,
    read_portfolio,
)
from support.core_fleet import content, default_entries, make_entry, make_portfolio


def write_folder(folder: Path, portfolio: Portfolio) -> Path:
    (folder / "blobs").mkdir(parents=True)
    (folder / PORTFOLIO_FILE).write_text(portfolio.model_dump_json(), encoding="utf-8")
    names = {"evaluation": 1000}
    for entry in portfolio.listed():
        assert entry.variant is not None
        names[entry.name] = entry.variant.artifact.size_bytes
        names[f"golden-{entry.name}"] = 100
    by_digest = {artifact.digest for artifact in artifacts_of(portfolio)}
    for name, size in names.items():
        data = content(name, size)
        digest = hashlib.sha256(data).hexdigest()
        assert digest in by_digest
        (folder / "blobs" / digest).write_bytes(data)
    return folder


def test_a_folder_is_imported_whole(tmp_path: Path) -> None:
    portfolio = make_portfolio()
    blobs = BlobStore(tmp_path / "hq")
    assert import_blobs(write_folder(tmp_path / "in", portfolio), blobs) == portfolio
    assert missing_from(blobs, artifacts_of(portfolio)) == ()
    assert len(artifacts_of(portfolio)) == 2 * len(default_entries()) + 1


def test_a_folder_without_a_portfolio_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(PortfolioError, match="fitment compress"):
        read_portfolio(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "Portfolio"}', "\x00"])
def test_something_else_than_a_portfolio_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / PORTFOLIO_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(PortfolioError, match="not a portfolio"):
        read_portfolio(tmp_path)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_bytes(b"x"), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "damaged: longer"),
    ],
)
def test_a_harmed_file_is_named(
    tmp_path: Path, harm: Callable[[Path], object], message: str
) -> None:
    folder = write_folder(tmp_path / "in", make_portfolio())
    harm(sorted((folder / "blobs").iterdir())[0])
    with pytest.raises(PortfolioError, match=message):
        import_blobs(folder, BlobStore(tmp_path / "hq"))


def test_a_portfolio_needs_its_baseline_and_unlike_names() -> None:
    entries = default_entries()
    with pytest.raises(PortfolioError, match="baseline 'fp32' is not listed"):
        check_portfolio(make_portfolio(entries[1:]))
    with pytest.raises(PortfolioError, match="same name"):
        check_portfolio(make_portfolio((*entries, entries[0])))
    bare = make_entry("bare").model_copy(update={"variant": None})
    with pytest.raises(PortfolioError, match="without its variant"):
        check_portfolio(make_portfolio((*entries, bare)))
    with pytest.raises(PortfolioError, match="something else"):
        check_portfolio(make_portfolio((*entries, make_entry("alien", model="other"))))
