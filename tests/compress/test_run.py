"""Stages are made once, interrupted runs go on, budgets hold, and every step is accounted for."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fitment_compress.child import Limits
from fitment_compress.compress import CompressRequest, Effort, compress
from fitment_compress.errors import OutputError, RequestError, SamplesError
from fitment_compress.progress import Silent
from fitment_compress.techniques import known_techniques
from fitment_compress.workspace import Workspace, cannot_write
from fitment_contract.benchmark import BenchmarkProtocol
from fitment_contract.portfolio import Portfolio
from support.compress_models import classifier, random, save_npz
from support.compress_probes import install

BRIEF = Effort(
    alone=BenchmarkProtocol(warmup=1, min_seconds=0.0, min_count=3), rounds=2, seconds=0.0
)


@pytest.fixture
def traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "plugins"
    folder.mkdir()
    yield install(folder, monkeypatch)
    known_techniques.cache_clear()


def recipes(folder: Path, *lines: str) -> Path:
    path = folder / "recipes.yaml"
    path.write_text("recipes:\n" + "\n".join(f"- {{{line}}}" for line in lines))
    return path


def request(folder: Path, path: Path, **changes: object) -> CompressRequest:
    model, data = classifier(folder, count=40)
    fields: dict[str, object] = {
        "model": model,
        "data": data,
        "output": folder / "out",
        "name": "toy",
        "effort": BRIEF,
        "recipes": path,
    }
    return CompressRequest(**{**fields, **changes})  # type: ignore[arg-type]  # fields by name


def step(mark: str, seconds: float = 0.0) -> str:
    return f"trace: {{mark: {mark}, seconds: {seconds}}}"


SHARED = (
    f"name: one, steps: [{step('a')}]",
    f"name: two, steps: [{step('a')}, {step('b')}]",
    f"name: three, steps: [{step('a')}, {step('b')}, fp16]",
)


def test_what_recipes_share_is_made_once(tmp_path: Path, traces: Path) -> None:
    made = compress(request(tmp_path, recipes(tmp_path, *SHARED), jobs=2))
    assert [entry.failure for entry in made.entries] == [None] * 4
    assert sorted(traces.read_text()) == ["a", "b"]
    assert list(tmp_path.glob(".out*")) == [], "a complete run leaves nothing beside its output"


@pytest.mark.usefixtures("traces")
def test_every_step_of_a_recipe_is_accounted_for(tmp_path: Path) -> None:
    made = compress(request(tmp_path, recipes(tmp_path, *SHARED)))
    entry = made.entry("three")
    assert entry is not None
    assert entry.variant is not None
    source = made.entries[0]
    assert source.variant is not None
    assert (source.variant.traits, source.variant.recipe, source.stages) == (("baseline",), (), ())
    assert [stage.step.technique for stage in entry.stages] == ["trace", "trace", "fp16"]
    assert entry.variant.recipe == entry.recipe
    assert entry.variant.traits == ("trace-a", "trace-b", "fp16")
    first, _, last = entry.stages
    assert first.notes == ("marked a",)
    assert first.sensitivity[0].spared
    assert last.size_bytes == entry.variant.artifact.size_bytes
    assert last.compressed_bytes < first.compressed_bytes
    for stage in entry.stages:
        assert stage.score is not None
        assert stage.latency is not None
        assert stage.latency.threads == 1
        assert stage.difference is not None
    assert entry.latency_all_threads is None or entry.latency_all_threads.threads > 1
    assert entry.macs == made.source.macs


def test_a_kept_work_folder_spares_the_next_run_the_work(tmp_path: Path, traces: Path) -> None:
    path = recipes(tmp_path, *SHARED[:1])
    compress(request(tmp_path, path, work=tmp_path / "work"))
    path = recipes(tmp_path, *SHARED)
    made = compress(request(tmp_path, path, work=tmp_path / "work"))
    assert traces.read_text() == "ab"
    assert len(made.listed()) == 4
    compress(request(tmp_path, path, work=tmp_path / "work", seed=1))
    assert traces.read_text() == "abab", "another seed may make another model"


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from compress.test_run import recipes, request, step
from fitment_compress.compress import compress
folder = Path(sys.argv[1])
compress(request(folder, folder / "recipes.yaml"))
"""


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path: Path, traces: Path) -> None:
    path = recipes(
        tmp_path,
        f"name: quick, steps: [{step('a')}, {step('b')}]",
        f"name: slow, steps: [{step('c', 60)}]",
    )
    tests = Path(__file__).parents[1]
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path), str(tests)])
    deadline = time.monotonic() + 120
    while "b" not in traces.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # the answer is kept after the trace is left
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out").exists()
    path.write_text(path.read_text().replace("60", "0"))
    made = compress(request(tmp_path, path))
    assert traces.read_text() == "abc"
    assert [entry.name for entry in made.listed()] == ["fp32", "quick", "slow"]


def test_a_spent_budget_lists_what_it_left_out(tmp_path: Path, traces: Path) -> None:
    lines = [f"name: r{index}, steps: [{step(f'n{index}', 4)}]" for index in range(9)]
    began = time.monotonic()
    made = compress(request(tmp_path, recipes(tmp_path, *lines), budget_seconds=10))
    assert time.monotonic() - began < 60, "nine recipes of four seconds and more were not made"
    left_out = [entry for entry in made.entries if "budget was spent" in (entry.failure or "")]
    assert left_out
    assert traces.read_text().count("n") + len(left_out) <= 9


def test_what_was_made_before_costs_no_budget(tmp_path: Path, traces: Path) -> None:
    path = recipes(tmp_path, *SHARED)
    compress(request(tmp_path, path, work=tmp_path / "work"))
    again = compress(request(tmp_path, path, work=tmp_path / "work", budget_seconds=0.001))
    assert [entry.failure for entry in again.entries] == [None] * 4
    assert traces.read_text() == "ab"


def test_samples_to_learn_from_calibrate_and_are_counted(tmp_path: Path) -> None:
    data = save_npz(tmp_path / "train.npz", image=random(9, 300, 1, 8, 8))
    path = recipes(tmp_path, "name: q, steps: [int8-static]")
    made = compress(request(tmp_path, path, training=data))
    assert made.data.training_count == 300
    assert made.data.calibration_count == 200
    assert made.data.evaluation_count == 40
    assert made.data.training_share_labelled == 0.0


def test_samples_to_learn_from_are_never_scored_on(tmp_path: Path) -> None:
    asked = request(tmp_path, recipes(tmp_path, "name: h, steps: [fp16]"))
    with np.load(asked.data) as arrays:
        data = save_npz(tmp_path / "train.npz", image=arrays["image"][:7])
    with pytest.raises(SamplesError, match="7 of 7 training samples are evaluation samples"):
        compress(request(tmp_path, recipes(tmp_path, "name: h, steps: [fp16]"), training=data))


def test_the_portfolio_on_disk_says_the_same(tmp_path: Path) -> None:
    made = compress(request(tmp_path, recipes(tmp_path, "name: h, steps: [fp16]")))
    text = (tmp_path / "out" / "portfolio.json").read_text()
    assert Portfolio.model_validate_json(text) == made


def test_a_search_finds_more_than_it_was_given_and_keeps_its_budget(tmp_path: Path) -> None:
    path = recipes(tmp_path, "name: h, steps: [fp16]", "name: q, steps: [int8-static]")
    began = time.monotonic()
    made = compress(request(tmp_path, path, search=True, budget_seconds=40, jobs=2))
    assert time.monotonic() - began < 60
    names = [entry.name for entry in made.entries]
    assert names[:3] == ["fp32", "h", "q"]
    assert [entry.failure for entry in made.entries] == [None] * len(names)
    assert len(names) > 3, "the search found nothing that the given recipes had not"


def test_a_search_without_time_lists_the_source_and_what_it_left_out(tmp_path: Path) -> None:
    path = recipes(tmp_path, "name: h, steps: [fp16]")
    made = compress(request(tmp_path, path, search=True, budget_seconds=0.1))
    assert [entry.name for entry in made.listed()] == ["fp32"]
    assert "budget was spent" in (made.entries[1].failure or "")


def test_a_search_says_why_a_recipe_failed_and_not_that_time_was_up(tmp_path: Path) -> None:
    path = recipes(tmp_path, "name: no, steps: [drop-blocks, fp16]")
    made = compress(request(tmp_path, path, search=True, budget_seconds=8))
    assert "none can be left out" in (made.entries[1].failure or "")


def test_another_seed_is_another_search(tmp_path: Path) -> None:
    path = recipes(tmp_path, "name: h, steps: [fp16]", "name: q, steps: [int8-static]")
    for seed in (0, 1):
        asked = request(
            tmp_path, path, search=True, budget_seconds=8, seed=seed, work=tmp_path / "work"
        )
        made = compress(asked)
        assert [entry.failure for entry in made.entries] == [None] * len(made.entries)


def test_a_search_without_a_budget_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="know when to end"):
        compress(request(tmp_path, recipes(tmp_path, "name: h, steps: [fp16]"), search=True))


def test_a_portfolio_says_what_decided_its_latencies(tmp_path: Path) -> None:
    made = compress(request(tmp_path, recipes(tmp_path, "name: h, steps: [fp16]")))
    assert "onnxruntime" in made.build_host
    assert " cores; " in made.build_host


@pytest.mark.parametrize("damage", [b"", b"something else", None])
def test_what_was_damaged_since_is_made_again(
    tmp_path: Path, traces: Path, damage: bytes | None
) -> None:
    path = recipes(tmp_path, f"name: one, steps: [{step('a')}]")
    compress(request(tmp_path, path, work=tmp_path / "work"))
    for kept in (*tmp_path.glob("work/*/stages/*/model.onnx"), *tmp_path.glob("work/*/answers/*")):
        kept.unlink() if damage is None else kept.write_bytes(damage)
    made = compress(request(tmp_path, path, work=tmp_path / "work"))
    assert [entry.failure for entry in made.entries] == [None, None]
    assert traces.read_text() == "aa"


def test_timing_may_take_as_long_as_the_models_are_many(tmp_path: Path) -> None:
    class Notes(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    notes: list[str] = []
    path = recipes(tmp_path, "name: h, steps: [fp16]", "name: d, steps: [int8-dynamic]")
    slow = replace(BRIEF, seconds=4.0)
    compress(request(tmp_path, path, effort=slow, limits=Limits(wall_seconds=8.0)), Notes())
    assert not [note for note in notes if "not comparable" in note]


def test_the_source_keeps_its_name_to_itself(tmp_path: Path) -> None:
    path = recipes(tmp_path, "name: fp32, steps: [fp16]")
    with pytest.raises(RequestError, match="a recipe with steps is called 'fp32'"):
        compress(request(tmp_path, path))


def test_a_full_disk_ends_the_run_and_what_was_made_is_kept(
    tmp_path: Path, traces: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recipes(tmp_path, f"name: one, steps: [{step('a')}]", f"name: two, steps: [{step('b')}]")

    def full(workspace: Workspace, question: str, answer: str) -> None:
        if "b" in traces.read_text():
            raise cannot_write(workspace.root, OSError(errno.ENOSPC, "No space left on device"))
        remember(workspace, question, answer)

    remember = Workspace.remember
    monkeypatch.setattr(Workspace, "remember", full)
    with pytest.raises(OutputError, match="No space left on device") as caught:
        compress(request(tmp_path, path))
    work = Path(str(caught.value).split("--work ")[1].split()[0])
    monkeypatch.setattr(Workspace, "remember", remember)
    compress(request(tmp_path, path, work=work, output=tmp_path / "other"))
    assert traces.read_text() == "abb"


def test_an_interrupt_does_not_wait_for_what_is_being_made(tmp_path: Path, traces: Path) -> None:
    recipes(tmp_path, f"name: slow, steps: [{step('c', 600)}]")
    script = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{SCRIPT}"
    tests = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), str(tests)], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".out.work/*/answers/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in told
    assert traces.read_text() == ""
