"""Makes one stage's files in a child process: the model and its golden outputs."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, Final

from fitment_compress.accounts import Account
from fitment_compress.errors import CandidateError
from fitment_compress.formats import ONNX, RUNTIMES
from fitment_compress.jobs import BuildJob, Built
from fitment_compress.packing import offer
from fitment_compress.pipeline import Candidate, build
from fitment_compress.techniques import known_techniques
from fitment_compress.techniques.base import Context, Findings, Tell, silent
from fitment_compress.workspace import StageFiles, Workspace
from fitment_contract.artifact import Artifact, Encoding
from fitment_contract.base import sha256_hex
from fitment_contract.variant import Golden
from fitment_runtime.catalog import find_runtime
from fitment_runtime.dataset import load_dataset
from fitment_runtime.errors import RuntimeFailure
from fitment_runtime.golden import write_golden
from fitment_runtime.session import Session

GOLDEN_SAMPLES: Final = 4
_INTEGER_TOLERANCE: Final = 0.5
_FLOAT_TOLERANCES: Final = {"fp32": 1e-3, "fp64": 1e-3, "fp16": 1e-2, "bf16": 1e-1}


def construct(job: BuildJob, tell: Tell = silent) -> Built:
    """Apply the steps to the parent, load the result, and keep what it gives for a few samples.

    Raises:
        TechniqueError: a step cannot be applied to this model.
        CandidateError: the file was built and does not load or run.
    """
    workspace = Workspace(Path(job.workspace))
    files = workspace.stage(job.key)
    findings = Findings()
    with tempfile.TemporaryDirectory(dir=workspace.root) as scratch:
        context = _context(job, workspace, Path(scratch), findings, tell)
        began = time.monotonic()
        candidate = build(_parent(job, workspace), job.steps, context)
        seconds = time.monotonic() - began
    account = candidate.account
    content = _content(candidate)
    path = files.model(candidate.format)
    path.write_bytes(content)
    encoding = _packed(content, files)
    loaded = _prove(path, RUNTIMES[candidate.format], workspace, files)
    return Built(
        format=candidate.format,
        precision=account.precision,
        traits=candidate.traits,
        opset=account.opset,
        artifact=_artifact(content, encoding),
        compressed_bytes=encoding.size_bytes if encoding else len(content),
        golden=Golden(
            artifact=_artifact(files.golden.read_bytes()), tolerance=golden_tolerance(account)
        ),
        inputs=loaded.inputs,
        outputs=loaded.outputs,
        seconds=seconds,
        sensitivity=tuple(findings.sensitivity),
        notes=tuple(findings.notes),
        parameters=account.parameters,
        macs=account.macs,
        peak_activation_bytes=account.peak_activation_bytes,
    )


def _context(
    job: BuildJob, workspace: Workspace, scratch: Path, findings: Findings, tell: Tell
) -> Context:
    inputs = find_runtime("onnxruntime").load(workspace.clean).inputs
    calibration = load_dataset(workspace.calibration, inputs)
    learns = any(known_techniques()[step.technique].learns for step in job.steps)
    return Context(
        calibration=[calibration.feeds(index) for index in range(len(calibration))],
        scratch=scratch,
        source=workspace.clean,
        training=load_dataset(workspace.training, inputs) if learns else None,
        classification=job.classification,
        seed=job.seed,
        tell=tell,
        findings=findings,
    )


def _parent(job: BuildJob, workspace: Workspace) -> Any:
    """The model to start from, in the format that techniques take."""
    import onnx

    if job.parent is None:
        return onnx.load(workspace.clean)
    path = workspace.stage(job.parent.key).model(job.parent.format)
    return onnx.load(path) if job.parent.format == ONNX else path.read_bytes()


def _content(candidate: Candidate) -> bytes:
    model = candidate.model
    content: bytes = model if isinstance(model, bytes) else model.SerializeToString()
    return content


def _packed(content: bytes, files: StageFiles) -> Encoding | None:
    """How the file travels when that is worth it; the encoded bytes lie beside the file."""
    offered = offer(content)
    if offered is None:
        return None
    encoding, packed = offered
    files.packed.write_bytes(packed)
    return encoding


def golden_tolerance(account: Account) -> float:
    """How far another machine's outputs may be off, relative to their largest magnitude.

    Float kernels differ in the order of additions only. Integer kernels differ in substance: x86
    without VNNI saturates the sum of two u8 x s8 products at 16 bits (VPMADDUBSW). Emulated bit by
    bit on the two shipped models, saturation moved single outputs by up to 0.11 where accuracy
    was kept, and by 0.7 to 0.9 where 20 to 28 points of accuracy were lost (reduce-range: 0). So
    half the largest magnitude lets honest integer kernels pass and catches wrong files; what lies
    between is for the benchmark, which scores.
    """
    if account.is_integer:
        return _INTEGER_TOLERANCE
    return _FLOAT_TOLERANCES.get(account.precision, _INTEGER_TOLERANCE)


def _prove(path: Path, runtime: str, workspace: Workspace, files: StageFiles) -> Session:
    try:
        session = find_runtime(runtime).load(path)
        evaluation = load_dataset(workspace.evaluation, session.inputs)
        step = max(1, len(evaluation) // GOLDEN_SAMPLES)  # sorted files: not all of one class
        golden = evaluation.subset(range(0, len(evaluation), step))
        write_golden(files.golden, session, golden, GOLDEN_SAMPLES)
    except RuntimeFailure as error:
        raise CandidateError(f"The file was built and is unusable: {error.detail}") from error
    return session


def _artifact(content: bytes, encoding: Encoding | None = None) -> Artifact:
    return Artifact(
        digest=sha256_hex(content),
        size_bytes=len(content),
        encodings=() if encoding is None else (encoding,),
    )
