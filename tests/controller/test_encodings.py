"""Encodings at headquarters: stored, offered to devices, and counted where bytes move."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fitment_contract.artifact import PACKED, Artifact, Encoding
from fitment_contract.benchmark import BenchmarkProtocol
from fitment_contract.device import Storage
from fitment_contract.portfolio import PORTFOLIO_FILE, Portfolio, PortfolioEntry
from fitment_controller.blobs import BlobStore
from fitment_controller.decisions.desired import Delivery, assign, message
from fitment_controller.decisions.evidence import EvidenceIndex
from fitment_controller.decisions.filters import Question
from fitment_controller.decisions.selection import select
from fitment_controller.domain import Assigned, DesiredState, Selection, VariantRef
from fitment_controller.errors import PortfolioError
from fitment_controller.profiles import load_profiles
from fitment_controller.profiles.kinds import Criterion, Floors
from fitment_controller.registry import artifacts_of, blob_path, import_blobs, missing_from
from support.core_fleet import MODEL, NOW, artifact, content, make_entry, make_facts, make_portfolio

PROFILES = load_profiles()


def encoded(name: str, size: int, encoding: str = PACKED) -> Encoding:
    """An encoding whose bytes are `content(name, size)`."""
    return Encoding(name=encoding, digest=artifact(name, size).digest, size_bytes=size)


def packed(entry: PortfolioEntry, *encodings: Encoding) -> PortfolioEntry:
    assert entry.variant is not None
    offered = entry.variant.artifact.model_copy(update={"encodings": encodings})
    variant = entry.variant.model_copy(update={"artifact": offered})
    return entry.model_copy(update={"variant": variant})


FP32 = packed(make_entry("fp32", traits=("baseline",), size=100_000), encoded("fp32-packed", 9_000))
INT8 = make_entry("int8", size=40_000)
PORTFOLIO = make_portfolio((FP32, INT8))


def test_devices_are_told_where_every_encoding_is() -> None:
    assert FP32.variant is not None
    ref = VariantRef(model_version=1, variant="fp32", digest=FP32.variant.digest)
    assigned = Assigned(model=MODEL, ref=ref, generation=1, assigned_at=NOW)
    state = assign(DesiredState(device="pi"), assigned)
    delivery = Delivery("http://hq/v1/artifacts/", BenchmarkProtocol())
    (assignment,) = message(state, {(MODEL, 1): PORTFOLIO}, delivery, NOW).assignments
    identity, smaller = assignment.variant.artifact.encodings
    assert (identity.name, identity.digest) == ("identity", FP32.variant.digest)
    assert smaller == encoded("fp32-packed", 9_000).model_copy(
        update={"urls": (f"http://hq/v1/artifacts/{smaller.digest}",)}
    )
    assert [encoding.urls for encoding in (identity, smaller)] == [
        (f"http://hq/v1/artifacts/{encoding.digest}",) for encoding in (identity, smaller)
    ]


def test_what_a_device_cannot_decode_counts_for_nothing() -> None:
    plain = Artifact(digest="0" * 64, size_bytes=1000)
    assert plain.transfer_bytes() == 1000
    for name, size, moves in ((PACKED, 300, 300), (PACKED, 3000, 1000), ("packed-9", 300, 1000)):
        offered = plain.model_copy(update={"encodings": (encoded("x", size, name),)})
        assert offered.transfer_bytes() == moves


def write_folder(folder: Path, portfolio: Portfolio) -> Path:
    (folder / "blobs").mkdir(parents=True)
    (folder / PORTFOLIO_FILE).write_text(portfolio.model_dump_json(), encoding="utf-8")
    sizes = {"fp32": 100_000, "fp32-packed": 9_000, "int8": 40_000, "evaluation": 1000}
    for name, size in (*sizes.items(), ("golden-fp32", 100), ("golden-int8", 100)):
        blob_path(folder, artifact(name, size)).write_bytes(content(name, size))
    return folder


def test_encoded_files_are_stored_like_all_others(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path / "hq")
    digest = encoded("fp32-packed", 9_000).digest
    assert digest in missing_from(blobs, artifacts_of(PORTFOLIO))
    import_blobs(write_folder(tmp_path / "in", PORTFOLIO), blobs)
    assert blobs.path(digest).read_bytes() == content("fp32-packed", 9_000)
    assert missing_from(blobs, artifacts_of(PORTFOLIO)) == ()


def test_a_portfolio_without_its_encoded_files_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", PORTFOLIO)
    path = folder / "blobs" / encoded("fp32-packed", 9_000).digest
    shutil.move(path, tmp_path / "elsewhere")
    with pytest.raises(PortfolioError, match="cannot be read"):
        import_blobs(folder, BlobStore(tmp_path / "hq"))
    path.write_bytes(bytes(9_000))
    with pytest.raises(PortfolioError, match="damaged"):
        import_blobs(folder, BlobStore(tmp_path / "hq"))


def pick(free_bytes: int | None = None) -> Selection:
    facts = make_facts(storage=Storage(free_bytes=free_bytes))
    objective = PROFILES.objective("balanced").model_copy(
        update={"optimise": (Criterion(by="link_bytes", tolerance=0.0),), "floors": Floors()}
    )
    question = Question(
        facts=facts,
        device_class=PROFILES.device_class("pi-5"),
        region=PROFILES.region("eu-west"),
        objective=objective,
        evidence=EvidenceIndex(),
    )
    return select(PORTFOLIO, question)


def test_the_link_is_charged_for_what_moves_and_the_disk_for_what_stays() -> None:
    numbers = {verdict.variant: verdict.numbers for verdict in pick().verdicts}
    assert (numbers["fp32"].link_bytes, numbers["fp32"].disk_bytes) == (10_100, 101_100)
    assert (numbers["int8"].link_bytes, numbers["int8"].disk_bytes) == (41_100, 41_100)


def test_the_larger_file_wins_where_it_moves_fewer_bytes_and_fits() -> None:
    assert pick().chosen == "fp32"
    assert pick(free_bytes=50_000).chosen == "int8"
