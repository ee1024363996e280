"""The whole run on real files, with real child processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from fitment_compress.child import Limits
from fitment_compress.cli import default_name, parse_metric, register
from fitment_compress.compress import CompressRequest, Effort, compress
from fitment_compress.errors import CompressError, RequestError, SamplesError
from fitment_compress.techniques import known_techniques
from fitment_compress.timing import MIN_COUNT
from fitment_contract.artifact import Artifact, Encoding
from fitment_contract.benchmark import BenchmarkProtocol, MetricSpec
from fitment_contract.portfolio import EntryStatus, Portfolio
from fitment_runtime.catalog import find_runtime
from fitment_runtime.golden import check_golden
from support.compress_models import (
    classifier,
    random,
    save_elementwise,
    save_labelled,
    save_npz,
    save_wide_range,
)
from support.compress_plugins import install
from support.runtime_models import save_gru, save_two_inputs

BRIEF = Effort(
    alone=BenchmarkProtocol(warmup=1, min_seconds=0.0, min_count=3), rounds=2, seconds=0.0
)


def request(model: Path, data: Path, **changes: object) -> CompressRequest:
    """A request with as little timing as there can be."""
    fields: dict[str, object] = {
        "model": model,
        "data": data,
        "output": model.parent / "out",
        "name": "toy",
        "effort": BRIEF,
    }
    return CompressRequest(**{**fields, **changes})  # type: ignore[arg-type]  # fields by name


def recipes(folder: Path, text: str) -> Path:
    path = folder / "recipes.yaml"
    path.write_text("recipes:\n" + text)
    return path


class Notes:
    """Progress that keeps its notes and stages."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.stages: list[str] = []

    def stage(self, name: str, total: int) -> None:
        self.stages.append(name)

    def step(self, what: str) -> None:
        pass

    def part(self, share: float, what: str) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Portfolio]:
    """The default recipes over an old-opset classifier: the folder and what it says."""
    folder = tmp_path_factory.mktemp("shipped")
    model, data = classifier(folder, opset=11)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FITMENT_CONVERTER", str(folder / "none"))
        made = compress(request(model, data, jobs=2))
    return folder / "out", made


def test_every_default_recipe_is_listed_for_an_ordinary_model(
    shipped: tuple[Path, Portfolio],
) -> None:
    """Opset 11 included: it is converted before anything is quantised per channel."""
    _, made = shipped
    assert [entry.failure for entry in made.entries if entry.failure] == []
    assert len(made.entries) == 16
    assert made.entries[0].variant is not None
    assert made.entries[0].variant.needs.opset == 17
    assert made.source.opset == 11


def test_the_folder_holds_every_blob_under_its_digest(shipped: tuple[Path, Portfolio]) -> None:
    folder, made = shipped
    assert Portfolio.model_validate_json((folder / "portfolio.json").read_text()) == made
    blobs = {path.name: path.read_bytes() for path in (folder / "blobs").iterdir()}
    named: set[Artifact | Encoding] = {made.evaluation} if made.evaluation else set()
    for entry in made.listed():
        assert entry.variant is not None
        assert entry.variant.golden is not None
        named |= {entry.variant.artifact, entry.variant.golden.artifact}
        named |= set(entry.variant.artifact.encodings)
    assert {artifact.digest for artifact in named} == set(blobs)
    for artifact in named:
        assert hashlib.sha256(blobs[artifact.digest]).hexdigest() == artifact.digest
        assert len(blobs[artifact.digest]) == artifact.size_bytes


def test_every_variant_loads_and_gives_its_golden_outputs(shipped: tuple[Path, Portfolio]) -> None:
    folder, made = shipped
    for entry in made.listed():
        assert entry.variant is not None
        assert entry.variant.golden is not None
        session = find_runtime("onnxruntime").load(folder / "blobs" / entry.variant.digest)
        golden = folder / "blobs" / entry.variant.golden.artifact.digest
        check_golden(golden, session, entry.variant.golden.tolerance)


def test_numbers_are_measured_and_hang_together(shipped: tuple[Path, Portfolio]) -> None:
    _, made = shipped
    assert made.data.calibration_count == 24
    assert made.data.evaluation_count == 96
    for entry in made.listed():
        assert entry.benchmark is not None
        assert entry.variant is not None
        assert entry.difference is not None
        score = entry.benchmark.score()
        assert score is not None
        assert score.count == 96
        assert score.worst_slice in {"north", "south", "west"}
        assert entry.difference.value == pytest.approx(score.value - 1.0)
        assert entry.benchmark.latency.count == 2 * MIN_COUNT
        assert entry.variant.needs.memory_bytes == entry.benchmark.peak_memory_bytes
    baseline = made.entries[0]
    assert baseline.agreement is not None
    assert baseline.agreement.value == 1.0
    assert baseline.transferred_ratio == 1.0


def test_kernels_and_tolerances_tell_integer_from_float(shipped: tuple[Path, Portfolio]) -> None:
    """The first of the two convolutions stays in floating point: it sums up few products."""
    _, made = shipped
    for name, integer, tolerance in (
        ("fp32", 0, 1e-3),
        ("fp16", 0, 1e-2),
        ("int8-u8s8-per-channel", 1, 0.5),
    ):
        entry = made.entry(name)
        assert entry is not None
        assert entry.benchmark is not None
        assert entry.variant is not None
        assert entry.variant.golden is not None
        assert entry.benchmark.kernels.integer_convolutions == integer
        assert entry.variant.golden.tolerance == tolerance


def test_wide_range_arithmetic_survives_the_default_and_collapses_with_all_operators(
    tmp_path: Path,
) -> None:
    model = save_wide_range(tmp_path / "wide.onnx")
    data = save_labelled(tmp_path / "d.npz", model, x=random(5, 200, 3, 8))
    path = recipes(
        tmp_path,
        "- {name: safe, steps: [int8-static]}\n"
        "- name: everything\n  steps: [{int8-static: {operators: all}}]\n",
    )
    made = compress(request(model, data, recipes=path))
    scores = {
        entry.name: entry.benchmark.scores[0].value for entry in made.listed() if entry.benchmark
    }
    assert scores["safe"] > 0.85
    assert scores["everything"] < 0.6


def test_a_model_without_weights_lists_the_baseline_and_why_the_rest_failed(
    tmp_path: Path,
) -> None:
    model = save_elementwise(tmp_path / "m.onnx")
    progress = Notes()
    only = ("int8-u8s8-per-channel", "int8-dynamic", "int4-weights")
    data = save_npz(tmp_path / "d.npz", x=random(0, 20, 6))
    made = compress(request(model, data, only=only), progress)
    assert [entry.name for entry in made.listed()] == ["fp32"]
    failed = [entry for entry in made.entries if entry.status is EntryStatus.FAILED]
    assert len(failed) == 3
    assert all("this model has none" in (entry.failure or "") for entry in failed)
    assert made.evaluation is None, "without labels there is nothing to score devices with"
    assert made.metric == MetricSpec(name="agreement")
    assert any("no labels" in note for note in progress.notes)
    assert progress.stages[0] == "checking model and data"


def test_two_inputs_one_of_them_integers(tmp_path: Path) -> None:
    model = save_two_inputs(tmp_path / "m.onnx")
    data = save_labelled(
        tmp_path / "d.npz", model, features=random(0, 60, 4), token=np.arange(60) % 5
    )
    made = compress(request(model, data, only=("int8-u8s8-per-channel", "int4-weights")))
    assert [entry.failure for entry in made.entries] == [None] * 3


def test_state_as_input_and_output(tmp_path: Path) -> None:
    model = save_gru(tmp_path / "m.onnx")
    data = save_npz(tmp_path / "d.npz", x=random(0, 30, 6, 1, 3), state=random(1, 30, 1, 1, 4))
    made = compress(request(model, data, only=("fp16",)))
    assert [entry.failure for entry in made.entries] == [None, None]


def test_regression_counts_errors_not_accuracy(tmp_path: Path) -> None:
    model, _ = classifier(tmp_path)
    data = save_npz(
        tmp_path / "r.npz", image=random(0, 40, 1, 8, 8), label=random(1, 40, 4).astype(float)
    )
    made = compress(request(model, data, only=("fp16",)))
    assert made.metric.name == "regression"
    score = made.entries[0].benchmark.scores[0] if made.entries[0].benchmark else None
    assert score is not None
    assert not score.higher_is_better


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "plugins"
    folder.mkdir()
    install(folder, monkeypatch)
    yield
    known_techniques.cache_clear()


@pytest.mark.usefixtures("plugins")
def test_a_candidate_that_crashes_is_listed_as_failed_and_the_rest_go_on(tmp_path: Path) -> None:
    model, data = classifier(tmp_path, count=40)
    path = recipes(
        tmp_path,
        "- {name: bad, steps: [crash]}\n- {name: broken, steps: [corrupt]}\n"
        "- {name: half, steps: [fp16]}\n",
    )
    made = compress(request(model, data, recipes=path))
    assert [entry.name for entry in made.listed()] == ["fp32", "half"]
    reasons = {entry.name: entry.failure or "" for entry in made.entries}
    assert "SIGSEGV" in reasons["bad"]
    assert "NoSuchOperator" in reasons["broken"]


@pytest.mark.parametrize(
    ("label", "cause"),
    [
        (np.full(40, 9), "the model has 4 classes"),
        (np.full(40, -1), "the model has 4 classes"),
        (np.zeros((40, 3), np.int64), "shape"),
    ],
)
def test_labels_that_do_not_fit_name_the_array(
    tmp_path: Path, label: np.ndarray, cause: str
) -> None:
    model, _ = classifier(tmp_path)
    data = save_npz(tmp_path / "d.npz", image=random(0, 40, 1, 8, 8), label=label)
    with pytest.raises(SamplesError, match=cause) as caught:
        compress(request(model, data, metric=MetricSpec(name="top1")))
    assert "'label'" in caught.value.fix


def test_an_unknown_metric_is_the_requests_fault(tmp_path: Path) -> None:
    model, data = classifier(tmp_path, count=20)
    with pytest.raises(RequestError, match="top1"):
        compress(request(model, data, metric=MetricSpec(name="bleu")))


def test_limits_too_small_for_the_model_are_said(tmp_path: Path) -> None:
    model, data = classifier(tmp_path, count=20)
    with pytest.raises(CompressError, match=r"longer than 0 s|MB of memory"):
        compress(request(model, data, limits=Limits(wall_seconds=0.0, memory_bytes=1)))


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    register(app)

    @app.callback()
    def root() -> None:
        """Commands."""

    return CliRunner().invoke(app, ["compress", *(str(argument) for argument in arguments)])


def test_json_is_all_there_is_on_stdout(tmp_path: Path) -> None:
    model, data = classifier(tmp_path, count=40)
    result = run(
        model, "--data", data, "--out", tmp_path / "out", "--only", "fp16", "--quick", "-o", "json"
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads((tmp_path / "out/portfolio.json").read_text())
    assert "timing in turns" in result.stderr


def test_the_table_is_plain_where_nobody_watches(tmp_path: Path) -> None:
    model, data = classifier(tmp_path, count=40)
    flags = ("--only", "fp16", "--only", "int8-dynamic", "--quick", "--out", tmp_path / "out")
    result = run(model, "--data", data, *flags)
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output
    table = result.stdout.splitlines()
    assert any(line.split()[:2] == ["fp16", "fp16"] for line in table)
    assert any("top1" in line and "vs fp32" in line and "p50" in line for line in table)


def test_errors_go_to_stderr_with_cause_and_fix(tmp_path: Path) -> None:
    model, data = classifier(tmp_path, count=20)
    result = run(model, "--data", data, "--only", "fp8")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "No recipe is called 'fp8'. There are: fp32" in result.stderr


def test_a_foreign_folder_stops_the_run_before_it_begins(tmp_path: Path) -> None:
    model, data = classifier(tmp_path, count=20)
    result = run(model, "--data", data, "--out", tmp_path)
    assert result.exit_code == 1
    assert "is not a portfolio folder" in result.stderr
    assert "building" not in result.stderr


def test_names_come_from_file_names() -> None:
    assert default_name(Path("My Net (v2).onnx")) == "my-net-v2"
    assert default_name(Path("模型.onnx")) == "model"


def test_metrics_carry_options() -> None:
    assert parse_metric("topk:k=3") == MetricSpec(name="topk", options={"k": 3})
    with pytest.raises(typer.BadParameter):
        parse_metric("topk:k")
