"""A child that dies costs its job and says why; the next job gets a new child."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fitment_compress.child import Child, Limits
from fitment_compress.errors import (
    CandidateError,
    CompressError,
    OutputError,
    SourceError,
    TechniqueError,
    WorkerError,
)
from fitment_compress.jobs import BuildJob, PrepareJob
from fitment_compress.techniques import known_techniques
from fitment_contract.variant import RecipeStep
from support.compress_models import classifier
from support.compress_plugins import install


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A workspace with a prepared model, and the misbehaving techniques installed."""
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    install(plugins, monkeypatch)
    root = tmp_path / "work"
    root.mkdir()
    model, data = classifier(tmp_path, count=20)
    with Child(Limits()) as child:
        child.ask(PrepareJob(workspace=str(root), model=str(model), data=str(data)))
    yield root
    known_techniques.cache_clear()


def build(workspace: Path, *techniques: str) -> BuildJob:
    steps = tuple(RecipeStep(technique=name) for name in techniques)
    return BuildJob(workspace=str(workspace), key="-".join(techniques) or "plain", steps=steps)


def failure(child: Child, job: BuildJob) -> CompressError:
    with pytest.raises(CompressError) as caught:
        child.ask(job)
    return caught.value


def test_each_way_to_die_has_its_reason_and_the_next_job_works(workspace: Path) -> None:
    with Child(Limits(memory_bytes=900 * 2**20)) as child:
        crashed = failure(child, build(workspace, "crash"))
        assert isinstance(crashed, WorkerError)
        assert "SIGSEGV" in str(crashed)
        eaten = failure(child, build(workspace, "eat"))
        assert isinstance(eaten, WorkerError)
        assert "memory" in str(eaten)
        assert child.ask(build(workspace)).precision == "fp32"


def test_a_child_that_hangs_is_stopped(workspace: Path) -> None:
    with Child(Limits(wall_seconds=3)) as child:
        assert "longer than 3 s" in str(failure(child, build(workspace, "hang")))


def test_a_child_that_is_stopped_before_it_starts_does_not_work(workspace: Path) -> None:
    with Child(Limits()) as child:
        child.stop()
        assert "SIGKILL" in str(failure(child, build(workspace)))


def test_a_full_disk_is_not_the_fault_of_a_candidate(workspace: Path) -> None:
    stage = workspace / "stages" / "plain"
    stage.mkdir(parents=True)
    (stage / "model.onnx").symlink_to("/dev/full")
    with Child(Limits()) as child:
        full = failure(child, build(workspace))
    assert isinstance(full, OutputError)
    assert "No space left on device" in full.problem


def test_errors_cross_the_process_boundary_as_they_are(workspace: Path) -> None:
    with Child(Limits()) as child:
        unusable = failure(child, build(workspace, "corrupt"))
        assert isinstance(unusable, CandidateError)
        assert "NoSuchOperator" in str(unusable)
        fault = failure(child, build(workspace, "fault"))
        assert isinstance(fault, TechniqueError)
        assert "fault failed on this model: KeyError" in str(fault)
        absent = PrepareJob(workspace=str(workspace), model="absent.onnx", data="absent.npz")
        with pytest.raises(SourceError) as caught:
            child.ask(absent)
        assert caught.value.fix
