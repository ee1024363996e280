"""One study for several processes: killed and continued, side by side, in SQLite and PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from fitment_compress.progress import Silent
from fitment_compress.search.explore import SearchResult, search
from support.search_landscape import Landscape
from support.search_process import SMALL_FIXED, asked, lines, small_space, start


def wait_for(happened: Callable[[], bool]) -> None:
    for _ in range(1200):
        if happened():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def continued(storage: str) -> tuple[SearchResult, Landscape]:
    """The same study, searched to its end in this process."""
    landscape = Landscape(pace=0.001)
    return search(asked(storage, 600.0), small_space(), landscape, Silent()), landscape


def killed_while(name: str, storage: str, log: Path) -> None:
    """A search that is killed when it begins a recipe once more."""
    already = [recipe for _, recipe in lines(log, "begin")].count(name)
    process = start(storage, log, 600.0, pace=0.4)
    try:
        wait_for(lambda: [recipe for _, recipe in lines(log, "begin")].count(name) > already)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def test_a_killed_search_is_continued(tmp_path: Path) -> None:
    storage, log = f"sqlite:///{tmp_path}/study.db", tmp_path / "log"
    killed_while("few-values", storage, log)
    assert [name for _, name in lines(log, "end")] == ["fp32", "half"]
    result, landscape = continued(storage)
    assert landscape.calls[0] == "few-values"
    assert not {"fp32", "half"} & set(landscape.calls)
    assert len(set(landscape.calls)) == len(landscape.calls)
    assert {entry.name for entry in result.results} == {"fp32", "half", *landscape.calls}


def test_a_candidate_that_kills_its_process_is_tried_twice_and_no_more(tmp_path: Path) -> None:
    storage, log = f"sqlite:///{tmp_path}/study.db", tmp_path / "log"
    killed_while("half", storage, log)
    killed_while("half", storage, log)
    result, landscape = continued(storage)
    assert "half" not in landscape.calls
    half = next(entry for entry in result.results if entry.name == "half")
    assert half.failure == "Each of the 2 processes that evaluated it died."
    assert len(result.results) > len(SMALL_FIXED)


def check_two_processes(storage: str, folder: Path) -> None:
    log = folder / "log"
    processes = [start(storage, log, 600.0, pace=0.05) for _ in range(2)]
    assert [process.wait(150) for process in processes] == [0, 0]
    evaluated = lines(log, "end")
    assert len({process for process, _ in evaluated}) == 2
    counts = Counter(name for _, name in lines(log, "begin"))
    counts.pop("fp32")  # the yardstick of each process that finds none
    assert [name for name, count in counts.items() if count > 1] == []
    assert 12 < len(counts) < 24
    result, _ = continued(storage)
    assert {entry.name for entry in result.results} >= {"fp32", *(name for _, name in evaluated)}


def test_two_processes_never_evaluate_the_same_recipe(tmp_path: Path) -> None:
    check_two_processes(f"sqlite:///{tmp_path}/study.db", tmp_path)


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database on a server that is started for the test."""
    places = [*Path("/usr/lib/postgresql").glob("*/bin")]
    found = [place / "initdb" for place in places if (place / "initdb").exists()]
    binary = str(found[-1]) if found else shutil.which("initdb")
    if binary is None:
        pytest.skip("needs the binaries of a PostgreSQL server")
    if find_spec("psycopg") is None:
        pytest.skip("needs a driver: pip install 'psycopg[binary]'")
    folder = Path(binary).parent
    user = _unprivileged(tmp_path)
    data, port = tmp_path / "server", _free_port()
    subprocess.run(
        [folder / "initdb", "-D", data, "-A", "trust", "-U", "fitment", "--no-sync"],
        check=True,
        capture_output=True,
        **user,
    )
    options = ["-p", str(port), "-c", "unix_socket_directories=", "-c", "fsync=off"]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [folder / "postgres", "-D", data, *options], stdout=log, stderr=log, **user
        )
    try:
        wait_for(lambda: _answers(port))
        yield f"postgresql+psycopg://fitment@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _unprivileged(folder: Path) -> dict[str, object]:
    """Who runs the server, which refuses to be run by root."""
    if os.geteuid() != 0:
        return {}
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    shutil.chown(folder, "nobody")
    return {"user": "nobody"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_two_processes_share_a_study_in_postgresql(postgresql: str, tmp_path: Path) -> None:
    check_two_processes(postgresql, tmp_path)
