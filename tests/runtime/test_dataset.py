"""Data files: what fits a model is loaded exactly, what does not is named with its fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fitment_contract.variant import TensorSpec
from fitment_runtime.dataset import Dataset, concatenate, load_dataset
from fitment_runtime.errors import DataError

X = TensorSpec(name="x", dtype="float32", shape=(None, 3))
TOKEN = TensorSpec(name="token", dtype="int32", shape=(None,))
STATE = TensorSpec(name="state", dtype="float32", shape=(1, 1, 4))
FIXED = TensorSpec(name="x", dtype="float32", shape=(4, 3))


def save(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    return path


def floats(*shape: int) -> Any:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_samples_keep_the_batch_axis_when_the_model_has_one(tmp_path: Path) -> None:
    dataset = load_dataset(save(tmp_path, x=floats(5, 3), label=np.arange(5)), [X])
    assert len(dataset) == 5
    np.testing.assert_array_equal(dataset.feeds(2)["x"], [[6, 7, 8]])


def test_samples_of_fixed_batches_and_states_are_fed_whole(tmp_path: Path) -> None:
    path = save(tmp_path, x=floats(5, 4, 3), state=floats(5, 1, 1, 4))
    dataset = load_dataset(path, [FIXED, STATE])
    feeds = dataset.feeds(1)
    assert feeds["x"].shape == (4, 3)
    assert feeds["state"].shape == (1, 1, 4)


def test_a_scalar_input_is_fed_as_an_array(tmp_path: Path) -> None:
    spec = TensorSpec(name="gain", dtype="float32", shape=())
    dataset = load_dataset(save(tmp_path, gain=floats(3)), [spec])
    assert dataset.feeds(2)["gain"].shape == ()


def test_integers_are_cast_when_nothing_is_lost(tmp_path: Path) -> None:
    dataset = load_dataset(save(tmp_path, token=np.array([1, 2], np.uint64)), [TOKEN])
    assert dataset.feeds(0)["token"].dtype == np.int32


def test_slices_are_names(tmp_path: Path) -> None:
    dataset = load_dataset(save(tmp_path, x=floats(2, 3), slice=np.array([7, 8])), [X])
    assert dataset.slice is not None
    assert list(dataset.slice) == ["7", "8"]


def test_a_subset_keeps_inputs_labels_and_slices_together(tmp_path: Path) -> None:
    path = save(tmp_path, x=floats(4, 3), label=np.arange(4), slice=np.array(list("abcd")))
    chosen = load_dataset(path, [X]).subset([3, 1])
    assert chosen.label is not None
    assert chosen.slice is not None
    assert (list(chosen.label), list(chosen.slice)) == ([3, 1], ["d", "b"])
    np.testing.assert_array_equal(chosen.feeds(0)["x"], [[9, 10, 11]])


@pytest.mark.parametrize(
    ("arrays", "specs", "words"),
    [
        ({"y": floats(5, 3)}, [X], ["no array 'x'", "has y", "by its name"]),
        ({}, [X], ["no array 'x'", "none"]),
        ({"x": floats(5, 4)}, [X], ["(5, 4)", "(any, 3)"]),
        ({"x": floats(5)}, [X], ["(5)", "one more axis"]),
        ({"x": floats(5, 3)}, [FIXED], ["(4, 3)", "(samples, 4, 3)"]),
        ({"x": floats(0, 3)}, [X], ["no sample"]),
        ({"x": np.array(1.0, np.float32)}, [X], ["()"]),
        ({"x": np.full((5, 3), np.nan, np.float32)}, [X], ["NaN", "5 of 5", "sample 0"]),
        ({"x": np.full((5, 3), np.inf)}, [X], ["infinity"]),
        ({"x": np.full((5, 3), 1e300)}, [X], ["infinity"]),
        ({"x": np.ones((5, 3), np.int64)}, [X], ["int64", "astype('float32')"]),
        ({"x": np.full((5, 3), "a")}, [X], ["astype('float32')"]),
        ({"token": np.array([2**40])}, [TOKEN], ["int64", "int32", "cannot hold"]),
        ({"token": np.array([0.5])}, [TOKEN], ["cannot hold"]),
        ({"token": np.array([np.nan])}, [TOKEN], ["NaN"]),
        ({"token": np.array(["a"])}, [TOKEN], ["int32"]),
        ({"x": floats(5, 3), "label": np.arange(4)}, [X], ["x 5", "label 4"]),
        ({"x": floats(5, 3), "token": np.arange(4)}, [X, TOKEN], ["x 5", "token 4"]),
        ({"x": floats(5, 3), "slice": np.arange(6)}, [X], ["slice 6"]),
        ({"x": floats(5, 3), "slice": floats(5)}, [X], ["'slice'", "name"]),
        ({"x": floats(5, 3), "label": np.array(list("abcde"))}, [X], ["class numbers"]),
        ({"x": floats(5, 3), "label": np.full(5, np.nan)}, [X], ["'label'", "NaN"]),
        ({"x": floats(5, 3), "label": np.array(1)}, [X], ["'label'", "single value"]),
    ],
)
def test_what_does_not_fit_is_named(
    tmp_path: Path, arrays: dict[str, Any], specs: list[TensorSpec], words: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(save(tmp_path, **arrays), specs)
    for word in words:
        assert word in caught.value.detail


def test_files_that_are_no_npz_are_named(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    with pytest.raises(DataError, match="No such file"):
        load_dataset(path, [X])
    path.write_bytes(b"PK\x03\x04 no archive at all")
    with pytest.raises(DataError, match="savez"):
        load_dataset(path, [X])
    np.save(tmp_path / "one.npy", floats(5, 3))
    with pytest.raises(DataError, match="savez"):
        load_dataset(tmp_path / "one.npy", [X])
    path.write_bytes(b"")
    with pytest.raises(DataError, match="savez"):
        load_dataset(path, [X])


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = save(tmp_path, x=np.array([{"a": 1}, None], dtype=object))
    with pytest.raises(DataError, match="object arrays"):
        load_dataset(path, [X])


def test_data_sets_are_joined_with_their_names_as_slices() -> None:
    one = Dataset({"x": floats(2, 3)}, np.array([0, 1]), None)
    two = Dataset({"x": floats(1, 3)}, np.array([2]), np.array(["s"]))
    joined = concatenate({"one": one, "two": two})
    assert joined.label is not None
    assert joined.slice is not None
    assert (list(joined.label), list(joined.slice)) == ([0, 1, 2], ["one", "one", "s"])
    with pytest.raises(DataError, match="different shapes"):
        concatenate({"one": one, "two": Dataset({"x": floats(1, 4)}, np.array([2]), None)})


@given(hnp.arrays(np.int64, st.integers(1, 6)))
def test_an_integer_is_cast_exactly_or_refused(values: Any) -> None:
    from tempfile import TemporaryDirectory

    fits = ((values >= -(2**31)) & (values < 2**31)).all()
    with TemporaryDirectory() as folder:
        path = save(Path(folder), token=values)
        if fits:
            np.testing.assert_array_equal(load_dataset(path, [TOKEN]).inputs["token"], values)
        else:
            with pytest.raises(DataError):
                load_dataset(path, [TOKEN])
