"""The parent's side of a conversion: start, wait within limits, read the answer."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, Final

import psutil

from fitment_compress.child import POLL_SECONDS, Limits
from fitment_compress.converter.environment import require
from fitment_compress.converter.log import last_line
from fitment_compress.converter.settings import child_environment
from fitment_compress.errors import TechniqueError

LIMITS: Final = Limits(wall_seconds=300.0, memory_bytes=4 * 1024**3)

_SCRIPT: Final = Path(__file__).with_name("inside.py")
_RESULT: Final = "_float32.tflite"


def convert(source: Path, inputs: list[str], scratch: Path, limits: Limits = LIMITS) -> bytes:
    """The .tflite file that is made of the ONNX file `source`.

    Args:
        source: a float model; every axis of its inputs is fixed.
        inputs: the names of its inputs, which keep the layout that they have in ONNX.
        scratch: a folder for the child, which sees no other one.
        limits: a child that exceeds them is killed.

    Raises:
        ConverterError: the converter is not installed.
        TechniqueError: the model cannot be converted, or the child crashed or exceeded a limit.
    """
    interpreter = require().interpreter
    folder = Path(tempfile.mkdtemp(dir=scratch)).absolute()  # where the child works
    command = [str(interpreter), "-I", str(_SCRIPT), str(source.absolute()), str(folder), *inputs]
    with (folder / "answer").open("w+b") as answer, (folder / "log").open("w+b") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # stays open as long as we live; its end tells the child
            stdout=answer,
            stderr=log,
            env=child_environment(folder),
            cwd=folder,
        )
        try:
            _wait(process, limits)
        finally:
            process.kill()
            process.communicate()
        said = last_line(_read(log))
        _check_answer(process.returncode, _read(answer), said)
    result = folder / f"{source.stem}{_RESULT}"
    if not result.is_file():
        raise TechniqueError(f"The converter wrote no file. It said: {said}")
    return result.read_bytes()


def _wait(process: subprocess.Popen[bytes], limits: Limits) -> None:
    """Until the child ends by itself; raises when it takes more than it may."""
    deadline = time.monotonic() + limits.wall_seconds
    while True:
        try:
            process.wait(timeout=POLL_SECONDS)
            return
        except subprocess.TimeoutExpired:
            pass
        if time.monotonic() > deadline:
            raise TechniqueError(
                f"The converter took longer than {limits.wall_seconds:.0f} s and was stopped."
            )
        try:
            resident = psutil.Process(process.pid).memory_info().rss
        except psutil.NoSuchProcess:
            continue
        if resident > limits.memory_bytes:
            raise TechniqueError(
                f"The converter took {resident / 1024**2:.0f} MB of memory and was stopped; "
                f"allowed are {limits.memory_bytes / 1024**2:.0f} MB."
            )


def _check_answer(status: int, answer: str, said: str) -> None:
    """Raise TechniqueError unless the child ended well and reports no error."""
    if status < 0:
        raise TechniqueError(
            f"The converter was ended by {signal.Signals(-status).name}. It said: {said}"
        )
    try:
        error = json.loads(answer).get("error")
    except ValueError:
        raise TechniqueError(f"The converter gave no answer. It said: {said}") from None
    if error is not None:
        raise TechniqueError(f"The model cannot be converted: {last_line(error) or said}")


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
