"""Session options that change how a model runs and never what it computes: cores, memory arena."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fitment_runtime.affinity import pinned, usable_cores
from fitment_runtime.catalog import find_runtime
from fitment_runtime.errors import UnsupportedFormat
from fitment_runtime.memory import resident_bytes
from fitment_runtime.session import Session, SessionOptions
from support.runtime_models import save_conv_classifier, save_memory_eater

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="threads choose cores on Linux only")
NOWHERE = (4095,)


def thread_cores() -> dict[str, str]:
    """By thread, the cores that the kernel lets it run on."""
    found = {}
    for folder in Path("/proc/self/task").iterdir():
        lines = (folder / "status").read_text().splitlines()
        (cores,) = (line for line in lines if line.startswith("Cpus_allowed_list:"))
        found[folder.name] = cores.split()[1]
    return found


def onnx_session(folder: Path, options: SessionOptions) -> Session:
    return find_runtime("onnxruntime").load(save_conv_classifier(folder / "m.onnx"), options)


def tflite_session(folder: Path, options: SessionOptions) -> Session:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed here")
    from support.runtime_tflite import save_tflite_dense

    model = save_tflite_dense(folder / "m.tflite", features=256, classes=256)
    return find_runtime("litert").load(model, options)


@on_linux
@pytest.mark.parametrize("load", [onnx_session, tflite_session])
def test_a_runtimes_threads_stay_on_their_cores(
    tmp_path: Path, load: Callable[[Path, SessionOptions], Session]
) -> None:
    load(tmp_path, SessionOptions())  # whatever the library starts once
    here, before = usable_cores(), set(thread_cores())
    session = load(tmp_path, SessionOptions(threads=3, affinity=here[-1:]))
    (spec,) = session.inputs
    session.run({spec.name: np.zeros([axis or 4 for axis in spec.shape], np.float32)})
    started = [cores for thread, cores in thread_cores().items() if thread not in before]
    assert len(started) == 2  # the third is the one that calls
    assert set(started) == {str(here[-1])}
    assert usable_cores() == here


@on_linux
def test_pinning_ends_where_it_ends() -> None:
    here = usable_cores()
    with contextlib.suppress(ValueError), pinned(here[:1]):
        assert usable_cores() == here[:1]
        raise ValueError("on purpose")
    assert usable_cores() == here
    with pinned(()):
        assert usable_cores() == here


@on_linux
def test_cores_that_cannot_be_had_are_unsupported(tmp_path: Path) -> None:
    for cores in (NOWHERE, (-1,), (1 << 70,)):
        with pytest.raises(UnsupportedFormat, match="cannot be used"), pinned(cores):
            pass
    with pytest.raises(UnsupportedFormat, match="4095"):
        onnx_session(tmp_path, SessionOptions(affinity=NOWHERE))
    assert os.sched_getaffinity(0) == set(usable_cores())


def test_without_an_arena_memory_goes_back_after_each_inference(tmp_path: Path) -> None:
    model = save_memory_eater(tmp_path / "m.onnx", 8 << 20)  # 32 MiB of float32
    kept = {}
    for arena in (False, True):
        before = resident_bytes()
        session = find_runtime("onnxruntime").load(model, SessionOptions(arena=arena))
        session.run({"x": np.zeros((1, 8), np.float32)})
        kept[arena] = resident_bytes() - before
        del session
    assert kept[False] < 16 << 20 < kept[True]


def test_options_change_no_output(tmp_path: Path) -> None:
    image = {"image": np.random.default_rng(0).random((4, 1, 8, 8), np.float32)}
    plain = onnx_session(tmp_path, SessionOptions()).run(image)[0]
    options = SessionOptions(threads=2, affinity=usable_cores()[:1], arena=False)
    np.testing.assert_allclose(onnx_session(tmp_path, options).run(image)[0], plain, rtol=1e-5)
