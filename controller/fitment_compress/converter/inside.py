"""Runs inside the converter's environment, where Fitment is not installed.

    python -I inside.py SOURCE.onnx FOLDER INPUT...

Writes FOLDER/model_float32.tflite and answers with one JSON line on standard output; everything
that libraries print goes to standard error. The inputs keep their ONNX shapes. It ends when its
standard input does: then the parent is gone.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from typing import Any, Final

_REFUSED: Final = frozenset(
    {"socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.system"}
)


def main() -> None:
    """Convert, and answer."""
    source, folder, *inputs = sys.argv[1:]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.addaudithook(_refuse)
    answer: dict[str, str] = {}
    try:
        _convert(source, folder, inputs)
    except SystemExit:
        answer = {"error": ""}  # it has said why on standard error
    except Exception as error:  # noqa: BLE001 - the parent decides what it means
        answer = {"error": f"{type(error).__name__}: {error}"}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _convert(source: str, folder: str, inputs: list[str]) -> None:
    onnx2tf = importlib.import_module("onnx2tf")
    onnx2tf.convert(
        input_onnx_file_path=source,
        output_folder_path=folder,
        tflite_backend="flatbuffer_direct",
        keep_shape_absolutely_input_names=inputs,
        not_use_onnxsim=True,  # the model is simplified already, and this would start a process
        verbosity="warn",
    )


def _refuse(event: str, _: tuple[Any, ...]) -> None:
    """Neither network nor further processes: a conversion needs none."""
    if event in _REFUSED:
        raise PermissionError(f"the converter may not do this: {event}")


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    main()
