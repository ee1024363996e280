"""What the agent adds to the probe's facts: runtimes that load, and what the link carried."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitment_agent import facts_screen as screen
from fitment_agent.errors import BenchmarkFailedError
from fitment_agent.facts import FactsKeeper, with_runtimes
from fitment_agent.journal import Journal
from fitment_agent.probe import make_probe
from fitment_agent.probe.root import Root
from fitment_agent.probe.storage import probe_storage
from fitment_agent.settings import Settings
from fitment_contract.base import LARGEST
from fitment_contract.device import DeviceFacts, RuntimeFacts
from support.device_roots import ROOTS, probe_of

ONNX = RuntimeFacts(name="onnxruntime", version="1.32.0", formats=("onnx",))
LITERT = RuntimeFacts(name="litert", version="2.3.0", formats=("tflite",))
MIB = 2**20
MEASURED = (
    "link.downlink_bytes_per_second",
    "link.downlink_samples",
    "link.downlink_sample_bytes",
)


def keeper(**changes: Any) -> FactsKeeper:
    given = {"device_id": "d", "state_dir": ROOTS, "root_prefix": ROOTS / "pi4", **changes}
    return FactsKeeper(make_probe(Settings(**given)), Journal(Path(":memory:")))


def test_before_any_transfer_the_rate_is_unknown_with_a_reason() -> None:
    facts = keeper().facts()
    assert facts.link.downlink_bytes_per_second is None
    assert set(MEASURED) <= set(facts.unknown)


def test_the_rate_is_the_median_of_the_latest_transfers_with_its_sample_size() -> None:
    facts = keeper()
    for seconds in (1, 2, 100):  # one of them met a traffic jam
        facts.learn_transfer(4 * MIB, seconds)
    link = facts.facts().link
    assert link.downlink_bytes_per_second == 2 * MIB
    assert (link.downlink_samples, link.downlink_sample_bytes) == (3, 12 * MIB)
    assert not set(MEASURED) & set(facts.facts().unknown)
    for _ in range(9):  # the link has changed for good
        facts.learn_transfer(MIB, 10)
    link = facts.facts().link
    assert link.downlink_bytes_per_second == MIB / 10
    assert (link.downlink_samples, link.downlink_sample_bytes) == (9, 9 * MIB)


@settings(deadline=None)  # each example opens a journal
@given(st.lists(st.tuples(st.integers(256 * 1024, 10**9), st.floats(0.01, 1e4)), min_size=1))
def test_the_rate_is_never_beyond_what_was_measured(transfers: list[tuple[int, float]]) -> None:
    facts = keeper()
    for size, seconds in transfers:
        facts.learn_transfer(size, seconds)
    rates = [size / seconds for size, seconds in transfers[-9:]]
    rate = facts.facts().link.downlink_bytes_per_second
    assert rate is not None
    assert min(rates) <= rate <= max(rates)


def test_what_is_too_small_or_took_no_time_measures_nothing() -> None:
    facts = keeper()
    facts.learn_transfer(1000, 0.001)
    facts.learn_transfer(4 * MIB, 0.0)
    assert facts.facts().link.downlink_samples is None


def test_a_declared_rate_is_not_overruled(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text('{"link": {"downlink_bytes_per_second": 50000.0}}')
    facts = keeper(facts_file=path)
    facts.learn_transfer(4 * MIB, 1.0)
    assert facts.facts().link.downlink_bytes_per_second == 50000.0
    assert facts.facts().link.downlink_samples is None


def test_runtimes_nobody_looked_at_yet_and_runtimes_that_are_known() -> None:
    facts = keeper()
    assert facts.facts().unknown["runtimes"] == "not looked at yet"
    assert not facts.are_complete
    facts.learn_runtimes([ONNX, LITERT])
    assert facts.facts().runtimes == (ONNX, LITERT)
    assert "runtimes" not in facts.facts().unknown
    facts.give_up_on_runtimes("the worker was killed")
    assert facts.facts().unknown["runtimes"] == "the worker was killed"


def test_a_runtime_that_is_installed_and_does_not_load_is_named() -> None:
    reading = probe_of(ROOTS / "pi-zero-2").read()
    facts = with_runtimes(reading, [LITERT], [ONNX, LITERT]).facts
    assert facts.runtimes == (LITERT,)
    assert facts.unknown["runtimes.onnxruntime"] == "1.32.0 is installed and does not load"
    none = with_runtimes(reading, [], [])
    assert none.facts.unknown["runtimes"] == "none is installed"
    assert "runtimes" not in none.sources


# The screen


def settings_of(name: str) -> Settings:
    return Settings(device_id="lab-1", state_dir=ROOTS, root_prefix=ROOTS / name)


def test_the_screen_shows_exactly_what_would_be_sent_and_keeps_sources_apart() -> None:
    reading = with_runtimes(probe_of(ROOTS / "jetson-orin").read(), [ONNX], [ONNX])
    shown = json.loads(json.dumps(screen.facts_screen(settings_of("jetson-orin"), reading)))
    assert DeviceFacts.model_validate(shown["facts"]) == reading.facts
    assert shown["sources"]["power.mode"] == "nvpmodel -q"
    assert "sources" not in shown["facts"]


def test_the_table_has_a_line_for_each_fact_and_each_gap() -> None:
    reading = with_runtimes(probe_of(ROOTS / "termux").read(), [ONNX], [ONNX, LITERT])
    lines = screen.facts_text(screen.facts_screen(settings_of("termux"), reading)).splitlines()
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if line}
    assert rows["FACT"] == "VALUE SOURCE"
    assert rows["power.charge_ratio"] == "0.78 termux-battery-status"
    assert rows["hardware.clusters.0"].startswith("cores 8, capacity 1024, up to 2.85 GHz /sys")
    assert rows["hardware.accelerators"].startswith("none none in /dev")
    assert rows["simulated"].startswith("no ")
    assert rows["runtimes.onnxruntime"] == "1.32.0, reads onnx loaded by a worker"
    assert rows["runtimes.litert"] == "2.3.0 is installed and does not load"
    assert rows["link.interface"] == "/proc/net/route: No such file or directory"
    assert set(reading.facts.unknown) <= set(rows)


def test_a_worker_that_fails_leaves_names_and_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> tuple[RuntimeFacts, ...]:
        raise BenchmarkFailedError("crashed: the worker was killed by SIGILL.", "Reinstall it.")

    monkeypatch.setattr("fitment_agent.local_bench.look_at_runtimes", fails)
    facts = screen.read_device(settings_of("pi4")).facts
    assert "SIGILL" in facts.unknown["runtimes"]
    assert {runtime.name for runtime in facts.runtimes} == {"onnxruntime", "litert"}


def test_a_file_system_larger_than_a_message_can_say_is_as_large_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems say 8 EiB."""
    figures = SimpleNamespace(f_bavail=2**51 - 1, f_blocks=2**51 - 1, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda folder: figures)
    found = probe_storage(Root(tmp_path), tmp_path)
    assert (found.free_bytes, found.total_bytes) == (LARGEST, LARGEST)
