"""Tuning on real sessions: what is handed on can be loaded, and computes the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fitment_contract.artifact import Artifact
from fitment_contract.base import sha256_hex
from fitment_contract.benchmark import SessionTuning
from fitment_contract.variant import Golden, Needs, Variant
from fitment_runtime import tuning
from fitment_runtime.affinity import usable_cores
from fitment_runtime.catalog import find_runtime
from fitment_runtime.dataset import Dataset, load_dataset
from fitment_runtime.errors import GoldenMismatch, LoadFailure, UnsupportedFormat
from fitment_runtime.golden import write_golden
from fitment_runtime.session import SessionOptions
from fitment_runtime.tuning import TuneRequest, challenge, options_of, tune
from support.runtime_models import save_mlp, save_two_inputs
from support.runtime_state import FINGERPRINT, save_evaluation

SECONDS = 0.1  # one round of the finals: what is looked at here is not who wins


def a_request(path: Path, golden: Path | None = None, runtime: str = "onnxruntime") -> TuneRequest:
    artifact = Artifact(digest=sha256_hex(path.read_bytes()), size_bytes=path.stat().st_size)
    proof = Artifact(digest=sha256_hex(b"golden"), size_bytes=1)
    variant = Variant(
        name="candidate",
        model="toy",
        format="onnx",
        precision="fp32",
        artifact=artifact,
        compressed_bytes=1,
        golden=Golden(artifact=proof, tolerance=1e-3) if golden else None,
        needs=Needs(runtime=runtime),
    )
    return TuneRequest(path, variant, FINGERPRINT, golden, seconds=SECONDS)


def a_tuning(request: TuneRequest, **options: object) -> SessionTuning:
    return SessionTuning.model_validate(
        {
            "digest": request.variant.digest,
            "fingerprint": FINGERPRINT,
            "threads": 1,
            "p50_seconds": 1.0,
            "reference_p50_seconds": 1.0,
            "candidates": 3,
            "measured_at": "2026-11-23T12:00:00Z",
            **options,
        }
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_mlp(tmp_path / "m.onnx")


@pytest.fixture
def golden(tmp_path: Path, model: Path) -> Path:
    session = find_runtime("onnxruntime").load(model)
    samples: Dataset = load_dataset(save_evaluation(tmp_path / "eval.npz"), session.inputs)
    path = tmp_path / "golden.npz"
    write_golden(path, session, samples)
    return path


def test_what_is_found_can_be_loaded(model: Path, golden: Path) -> None:
    request = a_request(model, golden)
    seen: list[str] = []
    found = tune(request, lambda stage, done, total: seen.append(stage))
    assert (found.digest, found.fingerprint) == (request.variant.digest, FINGERPRINT)
    assert found.p50_seconds > 0
    assert found.candidates >= 2  # the reference, and at least without an arena
    assert set(seen) == {"tune"}
    session = find_runtime("onnxruntime").load(model, options_of(found, request))
    assert session.run({"x": np.zeros((1, 8), np.float32)})[0].shape == (1, 3)


def test_in_a_hurry_the_reference_stands(model: Path) -> None:
    found = tune(a_request(model))
    assert options_of(found, a_request(model)) == SessionOptions()
    assert found.p50_seconds == found.reference_p50_seconds


def test_any_inputs_are_made_up(tmp_path: Path) -> None:
    assert tune(a_request(save_two_inputs(tmp_path / "m.onnx"))).p50_seconds > 0


def test_a_tflite_model_is_tuned_too(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed here")
    from support.runtime_tflite import save_tflite_dense

    found = tune(a_request(save_tflite_dense(tmp_path / "m.tflite"), runtime="litert"))
    assert found.arena  # which LiteRT has not, so nothing else was tried


def test_a_model_that_computes_something_else_is_not_tuned(
    tmp_path: Path, model: Path, golden: Path
) -> None:
    other = save_mlp(tmp_path / "other.onnx", classes=5)
    with pytest.raises(GoldenMismatch):
        tune(a_request(other, golden))


def test_a_model_that_does_not_load_is_not_tuned(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(LoadFailure):
        tune(a_request(path))


def test_a_provider_that_is_needed_and_not_here_is_named(model: Path) -> None:
    request = a_request(model)
    needing = TuneRequest(model, request.variant, FINGERPRINT, providers=("NoSuchProvider",))
    with pytest.raises(UnsupportedFormat, match="NoSuchProvider"):
        tune(needing)


def test_a_challenger_that_does_not_load_leaves_the_champion(model: Path) -> None:
    request = a_request(model)
    champion = a_tuning(request, arena=False)
    found = challenge(request, champion, "NoSuchProvider")
    assert found.providers == ()
    assert found.candidates == champion.candidates + 2  # the reference and the champion


def test_options_of_a_tuning_keep_what_the_variant_needs(model: Path) -> None:
    cores = usable_cores()[:1]
    request = TuneRequest(model, a_request(model).variant, FINGERPRINT, providers=("Needed",))
    found = options_of(a_tuning(request, threads=2, affinity=cores, arena=False), request)
    assert found == SessionOptions(2, ("Needed",), affinity=cores, arena=False)
    other = options_of(a_tuning(request, providers=("Other", "CPU")), request)
    assert other.providers == ("Other", "CPU")


class FourCores:
    """Stands in for loading and timing: four threads are the fastest, and every look takes 1 s.

    Args:
        accelerated: how many times faster a provider makes it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, accelerated: float = 1.0) -> None:
        self.measured: list[SessionOptions] = []
        clock = SimpleNamespace(monotonic=lambda: float(len(self.measured)))

        def measure(tuner: tuning._Tuner, options: SessionOptions) -> float:
            self.measured.append(options)
            tuner._proved.add(options)
            return 1.0 / options.threads / (accelerated if options.providers else 1.0)

        monkeypatch.setattr(tuning, "time", clock)
        monkeypatch.setattr(tuning, "usable_cores", lambda: (0, 1, 2, 3))
        monkeypatch.setattr(tuning._Tuner, "_measure", measure)


def after_another_second(found: Callable[[float], SessionTuning]) -> list[SessionTuning]:
    """What is found within ever more time."""
    return [found(seconds) for seconds in range(1, 120)]


def test_a_second_contest_cut_short_takes_nothing_back(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third round of the first three candidates tells that four threads are the best."""

    def found(seconds: float) -> SessionTuning:
        FourCores(monkeypatch)
        return tune(replace(a_request(model), seconds=seconds))

    threads = [one.threads for one in after_another_second(found)]
    decided = 2 * 3  # seconds
    assert threads == [1] * decided + [4] * (len(threads) - decided)


@pytest.mark.parametrize(
    "accelerated",
    [
        0.5,
        2.0,
        100.0,  # both accelerated ones are faster; the champion is in the finals all the same
    ],
)
def test_a_challenger_that_takes_all_the_time_leaves_the_champion(
    model: Path, monkeypatch: pytest.MonkeyPatch, accelerated: float
) -> None:
    """It is the champion or what beats it, never the reference that the champion beat."""
    request = a_request(model)
    champion = a_tuning(request, threads=4)

    def found(seconds: float) -> SessionTuning:
        FourCores(monkeypatch, accelerated)
        return challenge(replace(request, seconds=seconds), champion, "Accelerator")

    for one in after_another_second(found):
        assert one.threads == 4 or one.providers
