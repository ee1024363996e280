"""Roots that are damaged, half denied or full of nonsense: the probe never raises, never lies."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fitment_agent.conditions import Surroundings
from fitment_agent.facts_screen import facts_screen, facts_text
from fitment_agent.settings import Settings
from fitment_contract.device import DeviceFacts
from support.device_roots import NAMES, ROOTS, assert_all_is_explained
from support.device_roots import probe_of as probe

NOBODY = 65534
WORTHLESS = st.one_of(
    st.binary(max_size=120),
    st.sampled_from(
        [b"-1", b"0", b"9" * 400, b"1e9", b"\xff" * 40, b"max max", b"nan", b"{" * 5000]
    ),
    st.sampled_from([b'{"percentage": NaN, "level": 1e999, "plugged": 7}', b"[" * 90_000, b"null"]),
    st.from_regex(rb"[0-9,-]{1,20}", fullmatch=True),
)
DAMAGE = st.one_of(
    st.tuples(st.just("cut"), st.integers(0, 400)),
    st.tuples(st.just("replace"), WORTHLESS),
    st.tuples(st.just("insert"), WORTHLESS),
    st.tuples(st.sampled_from(["remove", "folder"]), st.none()),
)


def damage(path: Path, kind: str, with_what: object) -> None:
    content = path.read_bytes()
    path.unlink()
    if kind == "cut":
        assert isinstance(with_what, int)
        path.write_bytes(content[:with_what])
    elif kind == "folder":
        path.mkdir()
    elif kind != "remove":
        assert isinstance(with_what, bytes)
        middle = len(content) // 2 if kind == "insert" else 0
        rest = content if kind == "insert" else b""
        path.write_bytes(rest[:middle] + with_what + rest[middle:])


@contextmanager
def damaged(root: Path, choices: list[tuple[Path, tuple[str, object]]]) -> Iterator[None]:
    before = {path: path.read_bytes() for path, _ in choices}
    try:
        for path, (kind, with_what) in choices:
            damage(path, kind, with_what)
        yield
    finally:
        for path, content in before.items():
            if path.is_dir():
                path.rmdir()
            path.write_bytes(content)


def copy_of(name: str, folder: Path) -> tuple[Path, list[Path]]:
    root = folder / name
    shutil.copytree(ROOTS / name, root)
    return root, sorted(path for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", [name for name in NAMES if name != "empty"])
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_whatever_the_files_hold(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    place = tmp_path_factory.getbasetemp() / "damaged"
    root, files = place / name, sorted(p for p in (place / name).rglob("*") if p.is_file())
    if not files:
        root, files = copy_of(name, place)
    paths = data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=6, unique=True))
    with damaged(root, [(path, data.draw(DAMAGE)) for path in paths]):
        source = probe(root)
        reading = source.read()
        around = source.surroundings()
    facts = reading.facts
    assert DeviceFacts.model_validate_json(facts.model_dump_json()) == facts
    assert_all_is_explained(facts, reading.sources)
    assert_plausible(around)
    assert facts_text(facts_screen(Settings(device_id="d", state_dir=root), reading))


def assert_plausible(around: Surroundings) -> None:
    assert around.charge_ratio is None or 0 <= around.charge_ratio <= 1
    assert around.temperature_celsius is None or -60 <= around.temperature_celsius <= 200
    for flag in (around.charging, around.throttled, around.metered):
        assert flag is None or isinstance(flag, bool)
    for size in (around.memory_available_bytes, around.memory_total_bytes):
        assert size is None or size >= 0


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything; a denial that is real takes another user."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; those of pytest are for their owner only."""
    import tempfile

    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_what_is_denied_is_missing_with_that_reason(open_folder: Path) -> None:
    root, _ = copy_of("pi4", open_folder)
    for denied in ("proc/cpuinfo", "proc/net/route", "sys/class/thermal/thermal_zone0/temp"):
        (root / denied).chmod(0)
    (root / "sys/devices/platform").chmod(0)
    with as_nobody():
        reading = probe(root).read()
    facts = reading.facts
    assert facts.unknown["hardware.isa"] == "/proc/cpuinfo: Permission denied"
    assert facts.unknown["link.interface"] == "/proc/net/route: Permission denied"
    assert facts.thermal.temperature_celsius is None
    assert facts.thermal.throttled is None
    assert facts.hardware.soc == "bcm2711"  # what is not denied is still read
    assert_all_is_explained(facts, reading.sources)


def test_all_of_proc_and_sys_denied(open_folder: Path) -> None:
    root, _ = copy_of("laptop", open_folder)
    for folder in ("proc", "sys", "commands"):
        (root / folder).chmod(0)
    with as_nobody():
        reading = probe(root).read()
        around = probe(root).surroundings()
    assert reading.facts.hardware.isa == ()
    assert reading.facts.os.name == "Debian GNU/Linux"
    assert around.charge_ratio is None
    assert_all_is_explained(reading.facts, reading.sources)


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    root, _ = copy_of("pi4", tmp_path)
    (root / "proc/meminfo").unlink()
    os.mkfifo(root / "proc/meminfo")
    assert probe(root).facts().hardware.memory_bytes is None
