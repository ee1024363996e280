"""An installed package with techniques that misbehave, found through the entry-point group."""

from __future__ import annotations

from pathlib import Path

import pytest

from fitment_compress.techniques import ENTRY_POINT_GROUP, known_techniques

MODULE = """
import os
import signal

from fitment_compress.techniques.base import Options, Requirements, Technique


class Misbehaving(Technique[Options]):
    summary = "misbehaves"
    options = Options

    def needs(self, options):
        return Requirements()

    def traits(self, options):
        return ("misbehaving",)


class Crash(Misbehaving):
    name = "crash"

    def apply(self, model, options, context):
        os.kill(os.getpid(), signal.SIGSEGV)


class Hang(Misbehaving):
    name = "hang"

    def apply(self, model, options, context):
        while True:
            pass


class Eat(Misbehaving):
    name = "eat"

    def apply(self, model, options, context):
        kept = []
        while True:
            kept.append(b"x" * 2**24)


class Corrupt(Misbehaving):
    name = "corrupt"

    def apply(self, model, options, context):
        model.graph.node[0].op_type = "NoSuchOperator"
        return model


class Fault(Misbehaving):
    name = "fault"

    def apply(self, model, options, context):
        raise KeyError("a bug")
"""
NAMES = ("crash", "hang", "eat", "corrupt", "fault")


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the package importable here and in child processes."""
    (folder / "misbehaving.py").write_text(MODULE)
    facts = folder / "misbehaving-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving\nVersion: 1.0\n")
    points = "\n".join(f"{name} = misbehaving:{name.capitalize()}" for name in NAMES)
    (facts / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{points}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    known_techniques.cache_clear()
