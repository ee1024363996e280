"""The converter's environment and the protocol with its process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fitment_compress.child import Limits
from fitment_compress.converter import environment, settings
from fitment_compress.converter.convert import convert
from fitment_compress.converter.errors import ConverterError
from fitment_compress.converter.log import last_line
from fitment_compress.errors import TechniqueError
from support.tflite_converter import misbehaving, pretend_installed

SOON = Limits(wall_seconds=30.0)


def python_for_converter() -> Path | None:
    found = (p for p in settings.candidate_interpreters() if environment._version_of(p))
    return next(found, None)


needs_python = pytest.mark.skipif(
    python_for_converter() is None, reason=f"needs Python {' or '.join(settings.VERSIONS)}"
)


def attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, limits: Limits) -> bytes:
    """A conversion by a converter whose `onnx2tf.convert` has this body."""
    folder = misbehaving(tmp_path / "converter", body)
    monkeypatch.setenv(settings.FOLDER_VARIABLE, str(folder))
    (tmp_path / "scratch").mkdir()
    source = tmp_path / "m.onnx"
    source.touch()
    return convert(source, ["x"], tmp_path / "scratch", limits)


def test_what_the_converter_writes_is_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "print('chatter'); open(output_folder_path + '/m_float32.tflite', 'w').write('flat')"
    assert attempt(tmp_path, monkeypatch, body, SOON) == b"flat"


def test_paths_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "os.link(input_onnx_file_path, output_folder_path + '/m_float32.tflite')"
    folder = misbehaving(tmp_path / "converter", body)
    monkeypatch.setenv(settings.FOLDER_VARIABLE, str(folder))
    monkeypatch.chdir(tmp_path)
    Path("m.onnx").write_text("graph")
    assert convert(Path("m.onnx"), ["x"], Path(), SOON) == b"graph"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('rank 9 is not\\nfor me')", "cannot be converted: for me"),
        (
            "print('\\x1b[31mERROR: no such operator\\x1b[0m\\n=====\\n'); sys.exit(1)",
            r"cannot be converted: ERROR: no such operator$",
        ),
        ("print('why', file=sys.stderr); os.abort()", "ended by SIGABRT. It said: .*why"),
        ("os._exit(0)", "gave no answer"),
        ("print('done, perhaps')", "wrote no file. It said: done, perhaps"),
        ("socket.create_connection(('127.0.0.1', 9))", "may not do this: socket"),
        ("os.system('true')", "may not do this: os.system"),
    ],
)
def test_a_failure_becomes_one_meaningful_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    with pytest.raises(TechniqueError, match=message):
        attempt(tmp_path, monkeypatch, body, SOON)


def test_a_converter_that_takes_too_long_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TechniqueError, match="took longer than 1 s"):
        attempt(tmp_path, monkeypatch, "time.sleep(60)", Limits(wall_seconds=1.0))
    assert not children_in(tmp_path)


def test_a_converter_that_takes_too_much_memory_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = "eaten = [b'x' * 2**20 for _ in range(200)]; time.sleep(60)"
    limits = Limits(wall_seconds=60.0, memory_bytes=100 * 2**20)
    with pytest.raises(TechniqueError, match="MB of memory and was stopped; allowed are 100 MB"):
        attempt(tmp_path, monkeypatch, body, limits)


def test_a_converter_ends_with_the_process_that_asked(tmp_path: Path) -> None:
    folder = misbehaving(tmp_path / "converter", "time.sleep(60)")
    (tmp_path / "m.onnx").touch()
    code = (
        "import pathlib, sys; from fitment_compress.converter.convert import convert; "
        "here = pathlib.Path(sys.argv[1]); convert(here / 'm.onnx', [], here)"
    )
    asking = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, settings.FOLDER_VARIABLE: str(folder)},
    )
    wait_until(lambda: bool(children_in(tmp_path)))
    asking.kill()
    asking.wait()
    wait_until(lambda: not children_in(tmp_path))


def test_an_interpreter_without_the_converter_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = misbehaving(tmp_path / "converter", "pass")
    next(folder.glob("lib/*/site-packages/onnx2tf.py")).unlink()
    monkeypatch.setenv(settings.FOLDER_VARIABLE, str(folder))
    with pytest.raises(TechniqueError, match="No module named 'onnx2tf'"):
        convert(tmp_path / "m.onnx", [], tmp_path, SOON)


def test_a_converter_that_is_missing_or_old_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(settings.FOLDER_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(ConverterError, match=r"not installed .*Run `fitment converter install`"):
        environment.require()
    old = pretend_installed(tmp_path / "old", requirements="of another version")
    monkeypatch.setenv(settings.FOLDER_VARIABLE, str(old))
    assert environment.status().outdated
    with pytest.raises(ConverterError, match=r"another version of Fitment\..*install"):
        environment.require()


def test_the_folder_is_chosen_by_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(settings.FOLDER_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert settings.default_folder() == Path("/data/fitment/converter")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    expected = Path("/home/someone/.local/share/fitment/converter")
    assert settings.default_folder() == expected
    monkeypatch.setenv(settings.FOLDER_VARIABLE, "~/here")
    assert settings.default_folder() == Path("/home/someone/here")


def test_interpreters_are_looked_for_on_the_path_and_in_pyenv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, name in [("bin", "python3.12"), (".pyenv/versions/3.13.2/bin", "python")]:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / name).symlink_to(sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    found = [path for path in settings.candidate_interpreters() if path.is_relative_to(tmp_path)]
    assert [path.name for path in found] == ["python3.12", "python"]


def test_without_a_new_python_the_commands_that_bring_one_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConverterError, match=r"is no Python with venv.*--python"):
        environment.install(tmp_path / "c", python=Path("/bin/false"), tell=lambda _: None)
    for module in (settings, environment):
        monkeypatch.setattr(module, "VERSIONS", ("3.98",))
    ours = f"is Python {sys.version_info.major}.{sys.version_info.minor}; the converter needs"
    with pytest.raises(ConverterError, match=ours):
        environment.install(tmp_path / "c", python=Path(sys.executable), tell=lambda _: None)
    with pytest.raises(ConverterError, match=r"none was found. .*apt-get install.*--python PATH"):
        environment.install(tmp_path / "c", tell=lambda _: None)
    assert not (tmp_path / "c").exists()


@needs_python
def test_an_installation_that_fails_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    folder = pretend_installed(tmp_path / "converter")
    with pytest.raises(ConverterError, match=r"pip could not install.*No matching distribution"):
        environment.install(folder, tell=lambda _: None)
    assert environment.status(folder).installed
    assert [path.name for path in tmp_path.iterdir()] == ["converter"]


def test_only_a_converter_is_replaced_or_removed(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    for change in (environment.install, environment.remove):
        with pytest.raises(ConverterError, match="holds something that is not the converter"):
            change(tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.png").exists()
    folder = pretend_installed(tmp_path / "converter")
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(ConverterError, match=r"cannot be deleted: .*link.*delete it yourself"):
        environment.remove(link)
    assert environment.remove(folder) == folder
    assert environment.remove(folder) is None


def test_a_damaged_marker_is_no_installation(tmp_path: Path) -> None:
    folder = pretend_installed(tmp_path / "converter")
    for damaged in ("", "{", "[1]", "7"):
        (folder / environment.MARKER).write_text(damaged)
        assert not environment.status(folder).installed


def test_the_command_shows_and_removes(tmp_path: Path) -> None:
    folder = pretend_installed(tmp_path / "converter")
    shown = fitment("status", "--at", str(folder), "-o", "json")
    assert shown.returncode == 0
    assert '"state": "installed"' in shown.stdout
    assert '"onnx2tf": "2.' in shown.stdout
    assert fitment("remove", "--at", str(folder)).returncode == 0
    missing = fitment("status", "--at", str(folder))
    assert missing.returncode == 3
    assert "fitment converter install" in missing.stdout
    (tmp_path / "cat.png").touch()
    refused = fitment("remove", "--at", str(tmp_path))
    assert refused.returncode == 1
    assert "error: " in refused.stderr
    assert "next:  Name another folder with --at" in refused.stderr


def test_the_last_line_is_the_last_that_says_something() -> None:
    assert last_line("a\n\x1b[33mWARNING: b\x1b[0m ====\n\n-----\n12:30\n") == "WARNING: b"
    assert last_line("\n=====\n") == ""


def fitment(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fitment_controller", "converter", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def children_in(folder: Path) -> list[psutil.Process]:
    """The converters at work whose environment is under `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if command and command[0].startswith(str(folder)):
            found.append(process)
    return found


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
