"""An installed package with techniques that leave traces, found through the entry-point group."""

from __future__ import annotations

from pathlib import Path

import pytest

from fitment_compress.techniques import ENTRY_POINT_GROUP, known_techniques

MODULE = """
import os
import time

from fitment_compress.techniques.base import Options, Requirements, Technique
from fitment_contract.portfolio import LayerSensitivity


class TraceOptions(Options):
    mark: str = "x"
    seconds: float = 0.0


class Trace(Technique[TraceOptions]):
    name = "trace"
    summary = "writes down that it was applied"
    options = TraceOptions

    def needs(self, options):
        return Requirements()

    def traits(self, options):
        return (f"trace-{options.mark}",)

    def apply(self, model, options, context):
        for part in range(4):
            time.sleep(options.seconds / 4)
            context.tell(part / 4, f"part {part}")
        with open(os.environ["TRACES"], "a") as file:
            file.write(options.mark)
        context.findings.notes.append(f"marked {options.mark}")
        context.findings.sensitivity.append(
            LayerSensitivity(layer="first", operator="Conv", noise_ratio=0.5, spared=True)
        )
        return model
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the package importable here and in child processes; the file of the traces."""
    (folder / "tracing.py").write_text(MODULE)
    facts = folder / "tracing-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: tracing\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\ntrace = tracing:Trace\n")
    traces = folder / "traces"
    traces.write_text("")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("TRACES", str(traces))
    known_techniques.cache_clear()
    return traces
