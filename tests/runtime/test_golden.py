"""Golden inputs: the same file agrees with itself, and nothing else passes for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fitment_runtime.catalog import find_runtime
from fitment_runtime.dataset import Dataset
from fitment_runtime.errors import GoldenMismatch, InferenceFailure
from fitment_runtime.golden import check_golden, golden_feeds, write_golden
from fitment_runtime.session import Session
from support.runtime_models import save_doubler, save_gru, save_nan_maker

X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, -8.0]], np.float32)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return find_runtime("onnxruntime").load(save_doubler(tmp_path / "m.onnx"))


@pytest.fixture
def golden(tmp_path: Path, session: Session) -> Path:
    path = tmp_path / "golden"
    write_golden(path, session, Dataset({"x": X}, None, None), count=2)
    return path


def edit(path: Path, **arrays: Any) -> Path:
    with np.load(path) as archive:
        changed = {**{name: archive[name] for name in archive.files}, **arrays}
    with path.open("wb") as file:
        np.savez(file, **{name: value for name, value in changed.items() if value is not None})
    return path


def test_a_model_agrees_with_itself(golden: Path, session: Session) -> None:
    check_golden(golden, session, tolerance=1e-6)
    assert [list(feeds["x"][0]) for feeds in golden_feeds(golden)] == [[1, 2], [3, 4]]


def test_state_inputs_keep_their_shape(tmp_path: Path) -> None:
    gru = find_runtime("onnxruntime").load(save_gru(tmp_path / "g.onnx"))
    inputs = {"x": np.ones((2, 6, 1, 3), np.float32), "state": np.ones((2, 1, 1, 4), np.float32)}
    path = tmp_path / "golden"
    write_golden(path, gru, Dataset(inputs, None, None, frozenset(inputs)))
    check_golden(path, gru, tolerance=1e-6)


def test_the_same_file_is_written_twice(tmp_path: Path, golden: Path, session: Session) -> None:
    again = tmp_path / "again"
    write_golden(again, session, Dataset({"x": X}, None, None), count=2)
    assert again.read_bytes() == golden.read_bytes()


def test_the_tolerance_is_relative_to_the_largest_output(golden: Path, session: Session) -> None:
    off = np.array([[[2.0, 4.0]], [[6.0, 8.8]]], np.float32)
    edit(golden, **{"output.y": off})  # 0.8 of 8.8 is 9 %
    check_golden(golden, session, tolerance=0.1)
    with pytest.raises(GoldenMismatch, match=r"golden input 1 differs by 0\.0909"):
        check_golden(golden, session, tolerance=0.09)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"output.y": None}, "no output 'y'"),
        ({"output.y": np.ones((2, 1, 3), np.float32)}, "shape"),
        ({"output.y": np.ones((1, 1, 2), np.float32) * 2}, "differs|shape"),
        ({"output.y": np.full((2, 1, 2), np.nan, np.float32)}, "differs by nan"),
        ({"input.x": None}, "no inputs"),
        ({"input.x": np.full((2, 1, 2), np.nan, np.float32)}, "differs by nan"),
    ],
)
def test_everything_else_is_a_mismatch(
    golden: Path, session: Session, arrays: dict[str, Any], words: str
) -> None:
    with pytest.raises(GoldenMismatch, match=words):
        check_golden(edit(golden, **arrays), session, tolerance=0.5)


def test_a_file_that_cannot_be_read_is_a_mismatch(tmp_path: Path, session: Session) -> None:
    with pytest.raises(GoldenMismatch, match="unusable"):
        check_golden(tmp_path / "missing", session, tolerance=1)
    (tmp_path / "torn").write_bytes(b"PK\x03\x04")
    with pytest.raises(GoldenMismatch, match="unusable"):
        check_golden(tmp_path / "torn", session, tolerance=1)


def test_outputs_that_are_no_numbers_make_no_golden_file(tmp_path: Path) -> None:
    model = find_runtime("onnxruntime").load(save_nan_maker(tmp_path / "n.onnx"))
    with pytest.raises(InferenceFailure, match="NaN"):
        write_golden(
            tmp_path / "g", model, Dataset({"x": np.full((1, 3), -1, np.float32)}, None, None)
        )
