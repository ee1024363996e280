"""Other quantisers, run as their own documentation says, each in an environment of its own.

A peer is one script of this folder and the packages that it needs. What it made is kept beside
the other files of a run, so that an interrupted run need not ask again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
INSTALL_SECONDS: Final = 1800.0
SCRIPT_SECONDS: Final = 900.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Peer:
    """Another tool.

    Attributes:
        name: of the tool.
        script: in this folder.
        installs: arguments of pip, in this order; none where Fitment's own environment has it.
        reads: the format of the file that it starts from.
    """

    name: str
    script: str
    installs: tuple[tuple[str, ...], ...] = ()
    reads: str = "onnx"


@dataclass(frozen=True)
class Made:
    """What a peer made with one of its settings, or why it made nothing.

    Attributes:
        setting: the name of the setting.
        versions: `package version` of the packages that decide.
    """

    setting: str
    versions: tuple[str, ...] = ()
    file: Path | None = None
    failure: str = ""


PEERS: Final = (
    Peer("onnxruntime", "onnxruntime_quantise.py"),
    Peer(
        "NNCF",
        "nncf_quantise.py",
        (("nncf==3.4.0", "onnx==1.23.2", "onnxruntime==1.32.0"),),
    ),
    Peer(
        "AIMET",
        "aimet_quantise.py",
        (
            ("torch==2.13.0",),
            # By itself it asks for onnx2torch, which asks for a torchvision of another PyTorch.
            ("--no-deps", "aimet-onnx==2.42.0"),
            ("onnx==1.23.2", "onnxruntime==1.32.0", "onnxscript==0.7.2", "onnx-ir==1.1.0"),
            ("bokeh==3.9.2", "hvplot==0.12.2", "pandas==3.1.1", "osqp==1.1.3"),
            ("scikit-learn==1.9.1", "jsonschema==4.26.0", "PyYAML==6.0.3", "psutil", "tqdm"),
        ),
    ),
    Peer("LiteRT", "litert_quantise.py", reads="tflite"),
)


def run(
    peer: Peer,
    source: Path,
    calibration: Path,
    environments: Path,
    work: Path,
    tell: Tell,
) -> list[Made]:
    """What a peer makes of a model; from an earlier run where nothing changed.

    Args:
        peer: the tool.
        source: a model in the format that it reads.
        calibration: an npz of samples.
        environments: a folder in which the peers' environments are made and found again.
        work: a folder for the files that are made.
        tell: hears what is being done.

    Returns:
        One for each setting; a single failure where the peer cannot be installed or run at all.
    """
    folder = work / f"{peer.script.removesuffix('.py')}-{_key(peer, source, calibration)}"
    answers = folder / "answers.json"
    if not answers.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            python = _environment(peer, environments, tell)
            tell(f"{peer.name}: quantising")
            said = _ask(python, peer, source, calibration, folder)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            return [Made("", failure=_reason(error))]
        answers.write_text(json.dumps(said), "utf-8")
    return [_made(answer, folder) for answer in json.loads(answers.read_text("utf-8"))]


def digest(content: bytes) -> str:
    """A name for some bytes."""
    return hashlib.sha256(content).hexdigest()[:16]


def _key(peer: Peer, source: Path, calibration: Path) -> str:
    """Of all that decides what a peer makes."""
    paths = (source, calibration, HERE / peer.script, HERE / "_script.py")
    parts = [json.dumps(peer.installs), *(digest(path.read_bytes()) for path in paths)]
    return digest("".join(parts).encode())


def _environment(peer: Peer, environments: Path, tell: Tell) -> Path:
    """The interpreter that has the peer's packages; made where it is not there yet."""
    if not peer.installs:
        return Path(sys.executable)
    key = digest(json.dumps([sys.version, peer.installs]).encode())
    folder = environments.absolute() / f"{peer.script.removesuffix('_quantise.py')}-{key}"
    python, whole = folder / "bin" / "python", folder / "whole"
    if whole.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    tell(f"{peer.name}: installing into {folder}")
    venv.create(folder, with_pip=True)
    for arguments in peer.installs:
        _run([str(python), "-m", "pip", "install", "--quiet", *arguments], INSTALL_SECONDS)
    whole.touch()
    return python


def _ask(
    python: Path, peer: Peer, source: Path, calibration: Path, folder: Path
) -> list[dict[str, Any]]:
    script = str(HERE / peer.script)
    paths = [str(path.absolute()) for path in (source, calibration, folder)]
    lines = _run([str(python), script, *paths], SCRIPT_SECONDS).splitlines()
    said = [json.loads(line) for line in lines if line.startswith('{"name"')]
    if not said:
        raise ValueError("its script said nothing")
    return said


def _run(command: Sequence[str], seconds: float) -> str:
    """What a command printed.

    Raises:
        subprocess.SubprocessError: it failed, or took too long.
    """
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=seconds, check=True
    )
    return done.stdout


def _made(answer: dict[str, Any], folder: Path) -> Made:
    file = answer.get("file")
    return Made(
        setting=answer["name"],
        versions=tuple(f"{name} {number}" for name, number in answer["versions"].items()),
        file=None if file is None else folder / file,
        failure=answer.get("failure", ""),
    )


def _reason(error: Exception) -> str:
    """One line: of a failed command, the last that it said."""
    said = getattr(error, "stderr", None) or ""
    lines = [line for line in str(said).splitlines() if line.strip()]
    return lines[-1].strip() if lines else " ".join(str(error).split())
