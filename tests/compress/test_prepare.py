"""What preparing leaves in a workspace that others read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fitment_compress.errors import SourceError
from fitment_compress.jobs import PrepareJob
from fitment_compress.prepare import prepare
from support.compress_models import random, save_npz
from support.runtime_models import save_mlp


def test_a_preparation_that_fails_leaves_what_another_run_reads(tmp_path: Path) -> None:
    model = save_mlp(tmp_path / "m.onnx")
    good = save_npz(tmp_path / "good.npz", x=random(0, 40, 8))
    values = random(1, 40, 8)
    values[20:] = np.finfo(np.float32).max  # in the range of the type, and too large for the model
    bad = save_npz(tmp_path / "bad.npz", x=values)
    work = tmp_path / "work"
    work.mkdir()
    prepare(PrepareJob(workspace=str(work), model=str(model), data=str(good)))
    before = {path.name: path.read_bytes() for path in work.iterdir()}
    assert {"clean.onnx", "calibration.npz", "evaluation.npz", "reference.npz"} < before.keys()
    with pytest.raises(SourceError, match="NaN or infinite"):
        prepare(PrepareJob(workspace=str(work), model=str(model), data=str(bad)))
    assert {path.name: path.read_bytes() for path in work.iterdir()} == before
