"""Blobs: only what was announced is kept, whole, under its digest."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitment_controller.blobs import BlobStore
from fitment_controller.errors import BlobError

DATA = b"weights" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def test_a_blob_is_stored_once_and_found_by_its_digest(blobs: BlobStore) -> None:
    path = blobs.put(io.BytesIO(DATA), DIGEST, len(DATA))
    assert blobs.put(io.BytesIO(b"never read"), DIGEST, len(DATA)) == path
    assert path.read_bytes() == DATA
    assert (blobs.has(DIGEST), blobs.size(DIGEST)) == (True, len(DATA))


@pytest.mark.parametrize(
    ("data", "size", "detail"),
    [
        (DATA + b"!", len(DATA), "longer than"),
        (DATA[:-1], len(DATA), "announced"),
        (DATA[:-1] + b"!", len(DATA), "other content"),
    ],
)
def test_anything_else_than_announced_leaves_nothing(
    tmp_path: Path, blobs: BlobStore, data: bytes, size: int, detail: str
) -> None:
    with pytest.raises(BlobError, match=detail):
        blobs.put(io.BytesIO(data), DIGEST, size)
    assert not blobs.has(DIGEST)
    assert list((tmp_path / "blobs").iterdir()) == []


@given(st.text(max_size=80))
def test_no_name_leads_out_of_the_directory(name: str) -> None:
    blobs = BlobStore.__new__(BlobStore)
    blobs._directory = Path("/nowhere")
    try:
        path = blobs.path(name)
    except BlobError:
        return
    assert path.parent == Path("/nowhere")
    assert len(name) == 64


def test_a_size_of_something_absent_is_an_error(blobs: BlobStore) -> None:
    with pytest.raises(BlobError, match="not stored here"):
        blobs.size(DIGEST)
