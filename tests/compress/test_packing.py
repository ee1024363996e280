"""The encoder of `packed-1`: whatever it is given comes back, and models come back from less."""

from __future__ import annotations

import io
import lzma
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import numpy_helper

from fitment_compress.packing import WORTHWHILE_RATIO, encode, offer
from fitment_compress.regions import find_regions
from fitment_contract.artifact import PACKED
from fitment_contract.base import sha256_hex
from fitment_contract.packed import PackedError, decode
from support.compress_models import Array, load, random
from support.runtime_models import save_mlp
from support.runtime_tflite import save_tflite_dense


def decoded(packed: bytes, size: int) -> bytes:
    return b"".join(decode(io.BytesIO(packed), size))


def model_of(*weights: Array) -> bytes:
    """An ONNX file that stores `weights` and does nothing."""
    stored = [numpy_helper.from_array(values, f"w{n}") for n, values in enumerate(weights)]
    graph = onnx.helper.make_graph([], "weights", [], [], stored)
    return onnx.helper.make_model(graph).SerializeToString()


def pruned(values: Array, share: float) -> Array:
    """Zeroes in place of the smallest."""
    return np.where(abs(values) > np.quantile(abs(values), share), values, 0).astype(values.dtype)


def shared(values: Array, entries: int) -> Array:
    """Each number replaced by one of a few; zeroes stay."""
    steps = np.linspace(values.min(), values.max(), entries).astype(values.dtype)
    nearest = steps[abs(values[..., None] - steps).argmin(axis=-1)]
    return np.where(values == 0, values, nearest).astype(values.dtype)


@given(st.binary(max_size=3000))
@settings(max_examples=30)
def test_any_file_comes_back(content: bytes) -> None:
    assert decoded(encode(content), len(content)) == content


_ELEMENTS = st.sampled_from([np.float32, np.float16, np.int8, np.int32]).flatmap(
    lambda dtype: arrays.arrays(
        dtype,
        st.integers(0, 400),
        elements=st.sampled_from([0, 0, 0, 1, -1, 2, 3]) | arrays.from_dtype(np.dtype(dtype)),
    )
)


@given(st.lists(_ELEMENTS, min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_any_tensors_come_back(weights: list[Array]) -> None:
    content = model_of(*weights)
    assert decoded(encode(content), len(content)) == content


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damage_never_gives_more_bytes_than_expected(data: st.DataObject) -> None:
    packed = bytearray(DAMAGED)
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(packed)))
    count = 0
    try:
        for piece in decode(io.BytesIO(packed[:cut]), len(SOURCE)):
            count += len(piece)
    except PackedError:
        pass
    assert count <= len(SOURCE)


_SPARSE = shared(pruned(random(0, 60, 60), 0.8), 16)
SOURCE = model_of(_SPARSE, random(1, 40), random(2, 30, 30).astype(np.float16))
DAMAGED = encode(SOURCE)


def test_a_shared_and_pruned_tensor_costs_little_more_than_its_entropy() -> None:
    values = shared(pruned(random(3, 300, 300), 0.9), 16)
    _, counts = np.unique(values, return_counts=True)
    entropy = float((counts * np.log2(values.size / counts)).sum()) / 8
    assert len(encode(model_of(values))) < 1.06 * entropy + 250


def test_pruned_numbers_that_are_not_shared_are_masked() -> None:
    """0.47 bits per weight say which are there, 27 of 32 bits what they are."""
    values = pruned(random(4, 300, 300), 0.9)
    bound = values.size * 0.47 / 8 + np.count_nonzero(values) * 27 / 8
    assert len(encode(model_of(values))) < 1.05 * bound
    assert len(lzma.compress(model_of(values))) > 1.1 * bound


@pytest.mark.parametrize("zeros_behind", [0, 255])
def test_masks_end_wherever_the_decoder_reads_a_block(zeros_behind: int) -> None:
    """A decoder reads gaps 1024 at a time, so a last one that holds no cell was left over."""
    generator = np.random.default_rng(9)
    for count in range(1021, 1027):
        values = np.zeros(20_000 + zeros_behind, np.float32)
        chosen = generator.choice(19_999, count - 1, replace=False)
        values[chosen] = generator.standard_normal(count - 1)
        values[19_999] = 1.0
        content = model_of(values)
        assert decoded(encode(content), len(content)) == content


def test_exponents_are_told_apart_from_digits() -> None:
    content = model_of(random(5, 300, 300))
    assert len(encode(content)) < 0.87 * len(content)


@pytest.mark.parametrize("dtype", [np.int8, np.float16, np.float32, np.int64])
def test_every_width_is_found(dtype: type) -> None:
    values = (random(6, 5000) > 1.0).astype(dtype)
    assert len(encode(model_of(values))) < 750  # one bit each, of which 16 % are ones


def test_a_constant_costs_nothing() -> None:
    assert len(encode(model_of(np.full(100_000, 0.3, np.float32)))) < 120


def test_a_file_that_is_no_onnx_is_searched_for_a_width() -> None:
    content = pruned(random(7, 200, 200), 0.9).tobytes()
    assert find_regions(content) == []
    assert len(encode(content)) < 0.95 * len(lzma.compress(content))


def test_regions_are_the_tensors(tmp_path: Path) -> None:
    path = save_mlp(tmp_path / "m.onnx")
    content = path.read_bytes()
    stored = [t.raw_data for t in load(path).graph.initializer if len(t.raw_data) >= 32]
    found = [content[start : start + size] for start, size in find_regions(content)]
    assert found == stored
    assert found


def test_equal_tensors_are_found_twice() -> None:
    content = model_of(random(8, 50), random(8, 50))
    (first, _), (second, _) = find_regions(content)
    assert content[first : first + 200] == content[second : second + 200]
    assert second >= first + 200


def test_an_offer_names_what_it_holds() -> None:
    found = offer(SOURCE)
    assert found is not None
    encoding, packed = found
    assert (encoding.name, encoding.size_bytes) == (PACKED, len(packed))
    assert encoding.digest == sha256_hex(packed)
    assert encoding.urls == ()
    assert len(packed) <= WORTHWHILE_RATIO * len(SOURCE)


def test_what_does_not_shrink_is_not_offered() -> None:
    assert offer(np.random.default_rng(0).bytes(10_000)) is None
    assert offer(b"") is None


def test_tensors_of_a_tflite_file_are_found(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT: pip install 'fitment[tflite]'")
    content = save_tflite_dense(tmp_path / "m.tflite", features=20, classes=30).read_bytes()
    weights = ((np.arange(600) - 20).astype(np.float32) / 10).tobytes()
    found = [content[start : start + size] for start, size in find_regions(content)]
    assert weights in found
    assert decoded(encode(content), len(content)) == content


@given(st.binary(max_size=300), st.data())
def test_a_damaged_tflite_file_has_whatever_regions_lie_in_it(
    noise: bytes, data: st.DataObject
) -> None:
    content = data.draw(st.sampled_from([b"\x08\0\0\0", noise[:4]])) + b"TFL3" + noise
    end = 0
    for start, size in find_regions(content):
        assert end <= start
        end = start + size
    assert end <= len(content)
