"""Nothing that a device does is told to anybody but its headquarters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LOAD = """
from fitment_runtime.catalog import find_runtime
find_runtime("onnxruntime").prepare()
"""


def test_onnxruntime_leaves_no_identity_behind(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", LOAD], env=environment, check=True)
    assert list(tmp_path.rglob("*")) == []
